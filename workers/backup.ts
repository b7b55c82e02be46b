// Entry point of a thread for backups.
import { runBackupThread } from "../src/backup/thread.ts";

runBackupThread();
