// The entry point of a reader thread that also runs slow reads.
import { runReaderThread } from "../../src/actor/readerThread.ts";
import { slowOperations } from "./slowOperations.ts";

runReaderThread(slowOperations);
