// The progress of a run: the change feed of the store, applied to the work that the run began with. Knows no terminal.
import type { ChangeRow, Command, CommandState, Session } from "../index.ts";

export interface Work {
  readonly session: Session;
  readonly commands: readonly Command[];
}

export interface Step {
  readonly commitSha: string;
  readonly argv: readonly string[];
  state: CommandState;
  runnerId: string | undefined;
}

export class Progress {
  /** One step for each command, by its id. */
  readonly steps: ReadonlyMap<string, Step>;
  readonly sessions: number;
  readonly #openSessions: Set<string>;
  endedSteps = 0;

  constructor(work: readonly Work[]) {
    const steps = work.flatMap(({ session: { commitSha }, commands }) =>
      commands.map(({ id, argv }): [string, Step] => [id, { commitSha, argv, state: "queued", runnerId: undefined }]),
    );
    this.steps = new Map(steps);
    this.#openSessions = new Set(work.map(({ session }) => session.id));
    this.sessions = work.length;
  }

  get endedSessions(): number {
    return this.sessions - this.#openSessions.size;
  }

  get done(): boolean {
    return this.#openSessions.size === 0;
  }

  /** Applies a change. Returns the step that has ended with it, if one has. */
  apply({ entity, entityId, op, detail }: ChangeRow): Step | undefined {
    if (entity === "session" && op === "end") this.#openSessions.delete(entityId);
    const step = entity === "command" ? this.steps.get(entityId) : undefined;
    if (step === undefined) return undefined;
    const { runnerId, outcome } = (detail ?? {}) as { runnerId?: string; outcome?: CommandState };
    const state = stateAfter(op, outcome);
    if (state === undefined) return undefined;
    step.state = state;
    step.runnerId = state === "running" ? runnerId : step.runnerId;
    if (state === "queued" || state === "running" || state === "cancelling") return undefined;
    this.endedSteps++;
    return step;
  }
}

function stateAfter(op: string, outcome: CommandState | undefined): CommandState | undefined {
  const states: Readonly<Record<string, CommandState | undefined>> = {
    claim: "running",
    requeue: "queued",
    cancelling: "cancelling",
    cancel: "cancelled",
    expire: "lost",
    finish: outcome,
  };
  return states[op];
}
