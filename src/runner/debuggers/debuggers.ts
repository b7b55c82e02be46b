// The debuggers that a runner can run commands under.

import { DapDebugger, type DapOptions } from "./dap/dapDebugger.ts";
import type { Debugger, DebuggerOptions } from "./debugger.ts";
import { NodeDebugger } from "./node/nodeDebugger.ts";

export const debuggers = {
  /** A debugger for programs of Node, with Node's inspector. */
  node: (options: DebuggerOptions = {}): Debugger => new NodeDebugger(options),
  /** A debugger with any adapter that speaks the Debug Adapter Protocol over its pipes. */
  dap: (options: DapOptions): Debugger => new DapDebugger(options),
};
