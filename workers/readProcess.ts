// The entry point of a process that reads a SQLite file, and of the thread that watches over it.
import { runReadProcess } from "../src/kysely/readProcess.ts";

runReadProcess();
