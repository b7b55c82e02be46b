// The state of the server that bodies see in tests and benchmarks that run without a server.
import type { ServerState } from "../../src/context.ts";

export const idleServer: ServerState = {
  counts: {},
  lanes: {},
  queueFullness: 0,
  lastWrite: undefined,
  database: {},
  uptime: undefined,
};
