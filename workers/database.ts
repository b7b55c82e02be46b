// Entry point of the database thread.
import { runDatabaseThread } from "../src/actor/database.ts";

runDatabaseThread();
