// The debuggers that a runner can run commands under.
import type { Debugger, DebuggerOptions } from "./debugger.ts";
import { NodeDebugger } from "./node/nodeDebugger.ts";

export const debuggers = {
  /** A debugger for programs of Node, with Node's inspector. */
  node: (options: DebuggerOptions = {}): Debugger => new NodeDebugger(options),
};
