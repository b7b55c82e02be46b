// The color of each state in tables. The compiler rejects a state of the model that is missing here.
import type {
  ArtifactState,
  CommandState,
  EnvironmentState,
  RunnerState,
  SessionState,
  WorktreeState,
} from "../model/vocabulary.ts";
import type { Style } from "./table.ts";

type RowState = ArtifactState | CommandState | EnvironmentState | RunnerState | SessionState | WorktreeState;

export const stateStyles: Readonly<Record<RowState, Style | undefined>> = {
  pending: undefined,
  queued: undefined,
  creating: "cyan",
  building: "cyan",
  running: "cyan",
  leased: "cyan",
  evicting: "cyan",
  online: "green",
  idle: "green",
  ready: "green",
  completed: "green",
  succeeded: "green",
  cancelling: "yellow",
  cancelled: "yellow",
  expired: "yellow",
  stalled: "yellow",
  draining: "yellow",
  dirty: "yellow",
  failed: "red",
  timed_out: "red",
  lost: "red",
  quarantined: "red",
  gone: "red",
  removed: undefined,
  deleted: undefined,
};
