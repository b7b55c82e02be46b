// The state of the server that bodies see in tests and benchmarks that run without a server.
import { Figures, WorkFigures } from "../../src/actor/figures.ts";
import type { ServerState } from "../../src/context.ts";

const work = new WorkFigures();

export const idleServer: ServerState = {
  counts: {},
  lanes: {},
  distributions: { ...new Figures().distributions(), ...work.distributions() },
  ended: work.ended(),
  queueFullness: 0,
  lastWrite: undefined,
  database: {},
  uptime: undefined,
};
