// The entry point of a runner thread.
import { startRunnerThread } from "../src/pool/thread.ts";

export default startRunnerThread();
