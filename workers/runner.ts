// The entry point of a runner thread.
import { startRunnerThread } from "../src/runners/thread.ts";

export default startRunnerThread();
