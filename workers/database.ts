// The entry point of the database thread.
import { runDatabaseThread } from "../src/actor/thread.ts";

runDatabaseThread();
