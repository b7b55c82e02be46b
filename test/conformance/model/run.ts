// Runs a generated sequence of steps on a store and on the model, and compares them after each step and at the end.
import assert from "node:assert/strict";
import { inspect } from "node:util";
import fc from "fast-check";
import { type Store, StoreError } from "../../../src/index.ts";
import type { TestClock } from "../../../src/testing/index.ts";
import { assertSound } from "../../support/sound.ts";
import { explain, type FeedRow, inTicks, type Made, shown } from "./explain.ts";
import { modelled } from "./operations.ts";
import { Picks } from "./picks.ts";
import { State, tickMs } from "./state.ts";
import { comparableToken } from "./tokens.ts";

/** A store under test, with a few clients. */
export interface Tested {
  readonly clock: TestClock;
  readonly clients: readonly Store[];
  /** Ends the thread of the database without warning, and resolves when another one serves the same data. */
  readonly die?: () => Promise<void>;
  close(): Promise<void>;
}

interface Call {
  readonly name: string;
  readonly numbers: readonly number[];
}

type Step =
  | { readonly kind: "call"; readonly call: Call; readonly client: number }
  | { readonly kind: "together"; readonly calls: readonly Call[] }
  | { readonly kind: "death"; readonly calls: readonly Call[] }
  | { readonly kind: "move"; readonly ticks: number };

const names = Object.entries(modelled).flatMap(([name, { weight }]) => Array<string>(weight).fill(name));
const callOf = fc.record({
  name: fc.constantFrom(...names),
  numbers: fc.array(fc.nat(359), { minLength: 14, maxLength: 14 }),
});
const together = (least: number) => fc.array(callOf, { minLength: least, maxLength: 3 });

/** Generates the steps of a run. */
export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 24, arbitrary: fc.record({ kind: fc.constant("call" as const), call: callOf, client: fc.nat(2) }) },
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant("move" as const), ticks: fc.constantFrom(1, 2, 3, 6, 12, -1) }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("together" as const), calls: together(2) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("death" as const), calls: together(0) }) },
  ),
  { minLength: 20, maxLength: 45, size: "max" },
);

/** The calls with which every run begins, so that the others have something to work on. */
const beginning: readonly Call[] = [
  // Two runners, a repository that allows three worktrees, a session that holds one of them, and one without.
  { name: "repositories.upsert", numbers: [0, 0, 1, 0] },
  { name: "runners.register", numbers: [0, 0, 0, 1, 0, 0] },
  { name: "runners.register", numbers: [0, 1, 0, 1, 0, 0] },
  { name: "sessions.create", numbers: [0] },
  { name: "worktrees.reserve", numbers: [0, 0, 0, 1, 0, 0, 0, 0, 3] },
  { name: "sessions.create", numbers: [0] },
  // An account with the token of an administrator.
  { name: "accounts.create", numbers: [0] },
  { name: "tokens.bootstrapAdmin", numbers: [0] },
];

class Run {
  readonly #tested: Tested;
  readonly #baseMs: number;
  /** The steps so far, for the message of a failure. */
  readonly done: string[] = [];
  #state = new State();
  #ids = 0;
  #seq = 0;

  constructor(tested: Tested) {
    this.#tested = tested;
    // A second of slack: the clocks of a server and of this process may differ a little.
    this.#baseMs = tested.clock.now() - 1_000;
  }

  async take(step: Step): Promise<void> {
    if (step.kind === "move") return this.#move(step.ticks);
    if (step.kind === "call") return this.#calls([step.call], step.client);
    const calls = apart(step.calls);
    if (step.kind === "together" || this.#tested.die === undefined) return this.#calls(calls);
    return this.#calls(calls, 0, this.#tested.die);
  }

  #move(ticks: number): void {
    this.done.push(`the clock moves by ${ticks} ticks`);
    if (ticks > 0) this.#tested.clock.advance(ticks * tickMs);
    else this.#tested.clock.jump(ticks * tickMs);
    this.#state = this.#state.copy();
    this.#state.now += ticks * tickMs;
    this.#state.wasSetBack ||= ticks < 0;
  }

  /** Makes calls at the same time, each by another client, and lets the model explain them. */
  async #calls(calls: readonly Call[], firstClient = 0, die?: () => Promise<void>): Promise<void> {
    const made = calls.map(({ name, numbers }, index) => {
      const picks = new Picks(numbers, () => this.#newId());
      const input = (modelled[name] as (typeof modelled)[string]).input(picks, this.#state);
      const client = (firstClient + index) % this.#tested.clients.length;
      return { name, input, client, actor: `client ${client}` };
    });
    this.done.push(made.map(({ name, input }) => `${name} ${inspect(input, { depth: 5 })}`).join(" with "));
    if (die !== undefined) this.done.push("the database thread dies");
    const answers = made.map((call) => outcomeOf(callStore(this.#tested.clients[call.client] as Store, call)));
    await die?.();
    const outcomes = await Promise.all(answers);
    const known = made.flatMap((call, index): Made[] => {
      const outcome = outcomes[index] as Outcome;
      if (!("error" in outcome) || outcome.error.code !== "closed") return [{ ...call, outcome }];
      assert.ok(die !== undefined, `${call.name}: only a death loses an answer`);
      return outcome.error.outcome === "unknown" ? [{ ...call, outcome: undefined }] : [];
    });
    const states = explain(this.#state, known, await this.#newRows(), this.#baseMs);
    // Neither the answers nor the feed tell the order of two renewals, or of a call whose answer was lost: only the rows do.
    this.#state = made.length === 1 && die === undefined ? (states.next().value as State) : await this.#stateOf(states);
    for (const { outcome } of known)
      if (outcome !== undefined && "answer" in outcome) this.#state.learn(outcome.answer);
  }

  #newId(): string {
    return `00000000-0000-7000-8000-${String(++this.#ids).padStart(12, "0")}`;
  }

  /** Reads the new rows of the change feed. */
  async #newRows(): Promise<FeedRow[]> {
    const { changes } = this.#tested.clients[0] as Store;
    const page = await changes.since({ after: this.#seq, limit: 500 });
    for (const { seq } of page.changes) assert.equal(seq, ++this.#seq, "the change feed has a gap");
    return page.changes.map(({ entity, entityId, op, entityVersion, fence, sessionId, actor }) => ({
      entity,
      entityId,
      op,
      entityVersion,
      fence,
      sessionId,
      actor,
    }));
  }

  /** Returns the state that the store shows, of those that are possible. */
  async #stateOf(states: Iterable<State>): Promise<State> {
    let difference: unknown;
    for (const state of states) {
      try {
        await this.compare(state);
        return state;
      } catch (error) {
        if (!(error instanceof assert.AssertionError)) throw error;
        difference ??= error;
      }
    }
    throw difference;
  }

  /** Compares all rows of the store with those of the model. */
  async compare(state = this.#state): Promise<void> {
    const [store] = this.#tested.clients as [Store];
    const observed = {
      repositories: await listed(store.repositories.all({ limit: 3, includeArchived: true })),
      runners: await listed(store.runners.all({ limit: 3 })),
      worktrees: await listed(store.worktrees.all({ limit: 3 })),
      sessions: await listed(store.sessions.all({ limit: 3 })),
      commands: await listed(store.commands.all({ limit: 3 })),
      artifacts: await listed(store.artifacts.all({ limit: 3 })),
      accounts: await listed(store.accounts.all({ limit: 3, includeDisabled: true })),
      tokens: await listed(store.tokens.all({ limit: 3 }), comparableToken),
      attempts: await byCommand(state.commands.keys(), (commandId) => store.commands.attempts({ commandId })),
    };
    for (const [name, rows] of Object.entries(observed)) {
      const expected = state[name as keyof typeof observed] as ReadonlyMap<string, unknown>;
      const own = new Map([...expected].filter(([, row]) => !Array.isArray(row) || row.length > 0));
      assert.deepEqual(
        ofMap(inTicks(rows, this.#baseMs) as object),
        ofMap(shown(Object.fromEntries(own)) as object),
        name,
      );
    }
    assert.equal((await this.#newRows()).length, 0, "reads change nothing");
  }
}

const ofMap = (rows: object) => Object.entries(rows).toSorted(([one], [other]) => (one < other ? -1 : 1));

async function listed<Row extends { readonly id: string }>(
  rows: AsyncIterable<Row>,
  comparable: (row: Row) => object = (row) => row,
): Promise<Record<string, object>> {
  const found: Record<string, object> = {};
  for await (const row of rows) {
    assert.ok(!(row.id in found), `${row.id} is listed twice`);
    found[row.id] = comparable(row);
  }
  return found;
}

async function byCommand<Item>(ids: Iterable<string>, read: (id: string) => Promise<readonly Item[]>) {
  const found = await Promise.all([...ids].map(async (id) => [id, await read(id)] as const));
  return Object.fromEntries(found.filter(([, items]) => items.length > 0));
}

/** Leaves out the calls that cannot be made with others, such as appends that the client would join. */
function apart(calls: readonly Call[]): readonly Call[] {
  return calls.filter(
    ({ name }, index) =>
      modelled[name]?.isAlone === false &&
      (name !== "logs.append" || calls.findIndex((call) => call.name === name) === index),
  );
}

type Outcome = { readonly answer: unknown } | { readonly error: StoreError };

type AnyCall = (input: object, options: { readonly actor: string }) => Promise<unknown>;

function callStore(store: Store, { name, input, actor }: { name: string; input: object; actor: string }) {
  const [entity, verb] = name.split(".") as [string, string];
  const verbs = store[entity as keyof Store] as unknown as Record<string, AnyCall>;
  return (verbs[verb] as AnyCall)(input, { actor });
}

async function outcomeOf(answer: Promise<unknown>): Promise<Outcome> {
  try {
    return { answer: await answer };
  } catch (error) {
    if (error instanceof StoreError) return { error };
    throw error;
  }
}

/** Runs the steps on a store that was just opened, and closes it. */
export async function runSteps(tested: Tested, sequence: readonly Step[]): Promise<void> {
  const run = new Run(tested);
  try {
    for (const call of beginning) await run.take({ kind: "call", call, client: 0 });
    for (const step of sequence) await run.take(step);
    await run.compare();
    await assertSound(tested.clients[0] as Store);
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`${message}\n\nafter these steps:\n${run.done.join("\n")}`, { cause: error });
  } finally {
    await tested.close();
  }
}
