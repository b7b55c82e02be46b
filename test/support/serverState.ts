// What a body is told about its server in tests and benchmarks that run without one.
import type { ServerState } from "../../src/context.ts";

export const idleServer: ServerState = {
  counts: {},
  lanes: {},
  queueFullness: 0,
  lastWrite: undefined,
  database: {},
};
