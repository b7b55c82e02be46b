// The entry point of a reader thread.
import { runReaderThread } from "../src/actor/readerThread.ts";

runReaderThread();
