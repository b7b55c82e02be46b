// The entry point of a thread that makes and checks backups.
import { runBackupThread } from "../src/backup/thread.ts";

runBackupThread();
