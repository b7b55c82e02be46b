// Runs a generated sequence of steps on a store and on the model, and compares them after each step and at the end.
import assert from "node:assert/strict";
import type { Store, StoreError } from "../../../src/index.ts";
import type { TestClock } from "../../../src/testing/index.ts";
import { assertSound } from "../../support/sound.ts";
import { apart, callStore, described, type Outcome, outcomeOf, type Prepared, searches, writes } from "./calls.ts";
import { explain, type FeedRow, inTicks, type Made, ordersOf, type Readings, shown } from "./explain.ts";
import { modelled } from "./operations.ts";
import { Picks } from "./picks.ts";
import { State, tickMs } from "./state.ts";
import { beginning, type Call, type Keying, rotated, type Step } from "./steps.ts";
import { comparableToken } from "./tokens.ts";
import { findsNothing, ordersWith, stateAfter, waitingInput } from "./waiting.ts";

/** A store under test, with a few clients. */
export interface Tested {
  readonly clock: TestClock;
  readonly clients: readonly Store[];
  /** True when the store runs one transaction at a time. */
  readonly isSerial: boolean;
  /** Ends the thread of the database without warning, and resolves when another one serves the same data. */
  readonly die?: () => Promise<void>;
  close(): Promise<void>;
}

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

  get #readings(): Readings {
    return { baseMs: this.#baseMs, isSerial: this.#tested.isSerial };
  }

  async take(step: Step): Promise<unknown> {
    if (step.kind === "move") return this.#move(step.ticks);
    if (step.kind === "call") return this.#calls(this.#prepare([step.call], step.client));
    if (step.kind === "wait") return this.#wait(step.waiting, step.calls);
    if (step.kind === "together" || this.#tested.die === undefined) return this.#calls(this.#prepareApart(step.calls));
    // Only with its key can a call be repeated after the death, and then it gets the answer that was lost.
    const calls = this.#prepareApart(step.calls.map((call) => ({ ...call, keying: "new" })));
    const lost = await this.#calls(calls, this.#tested.die);
    for (const call of lost) await this.#calls([call]);
  }

  #move(ticks: number): void {
    this.done.push(`the clock moves by ${ticks} ticks`);
    if (ticks > 0) this.#tested.clock.advance(ticks * tickMs);
    else this.#tested.clock.jump(ticks * tickMs);
    this.#state = this.#state.copy();
    this.#state.now += ticks * tickMs;
    this.#state.wasSetBack ||= ticks < 0;
  }

  /** Returns the calls with their inputs, each of another client. */
  #prepare(calls: readonly Call[], firstClient = 0): readonly Prepared[] {
    const prepared: Prepared[] = [];
    for (const { name, numbers, keying = "none" } of calls) {
      const client = (firstClient + prepared.length) % this.#tested.clients.length;
      const twin = keying === "twin" ? prepared.find(({ key }) => key !== undefined) : undefined;
      prepared.push(twin === undefined ? this.#prepareOne(name, numbers, keying, client) : { ...twin, client });
    }
    return prepared;
  }

  #prepareApart(calls: readonly Call[], firstClient = 0): readonly Prepared[] {
    return apart(this.#prepare(calls, firstClient), this.#tested.isSerial);
  }

  #prepareOne(name: string, numbers: readonly number[], keying: Keying, client: number): Prepared {
    const picks = new Picks(numbers, () => this.#newId());
    const inputOf = (operation: string) => (modelled[operation] as (typeof modelled)[string]).input(picks, this.#state);
    const stored = [...this.#state.keys.values()].filter(({ expiresAt }) => expiresAt > this.#state.now);
    const known = stored[(numbers[0] as number) % stored.length];
    const isKnown = known !== undefined && (keying === "repeat" || keying === "mismatch");
    if (!isKnown) {
      const key = keying !== "none" && writes.has(name) ? { key: this.#newId() } : {};
      return { name, input: inputOf(name), client, actor: `client ${client}`, ...key };
    }
    const { input, actor, key } = known;
    return { name: known.name, input: keying === "repeat" ? input : inputOf(known.name), client, actor, key };
  }

  /**
   * Makes calls at the same time, and lets the model explain them. Returns those with a key whose answer was lost in the
   * death.
   */
  async #calls(made: readonly Prepared[], die?: () => Promise<void>): Promise<readonly Prepared[]> {
    this.done.push(made.map(described).join(" with "));
    if (die !== undefined) this.done.push("the database thread dies");
    const answers = made.map((call) => outcomeOf(callStore(this.#tested.clients[call.client] as Store, call)));
    await die?.();
    const outcomes = await Promise.all(answers);
    const known = made.flatMap((call, index): (Prepared & Made)[] => {
      const outcome = outcomes[index] as Outcome;
      if (!("error" in outcome) || outcome.error.code !== "closed") return [{ ...call, outcome }];
      assert.ok(die !== undefined, `${call.name}: only a death loses an answer`);
      return outcome.error.outcome === "unknown" ? [{ ...call, outcome: undefined }] : [];
    });
    const states = explain(this.#state, ordersOf(known), await this.#newRows(), this.#readings);
    // Neither the answers nor the feed tell the order of two renewals, or of a call whose answer was lost: only the rows do.
    this.#state = made.length === 1 && die === undefined ? (states.next().value as State) : await this.#stateOf(states);
    for (const { outcome } of known)
      if (outcome !== undefined && "answer" in outcome) this.#state.learn(outcome.answer);
    return known.flatMap(({ outcome, ...call }) => (outcome === undefined && call.key !== undefined ? [call] : []));
  }

  /** Makes a call that may wait, and others meanwhile. A call that waits although the model finds something is awaited. */
  async #wait(waits: Call, calls: readonly Call[]): Promise<void> {
    const tries = Array.from({ length: 8 }, (_, by) => by);
    // Mostly a call that finds nothing yet, and others by which it then finds something.
    const firsts = tries.map((by) => this.#prepare([rotated({ ...waits, keying: "none" }, by)])[0] as Prepared);
    const first = firsts.find((call) => findsNothing(this.#state, call)) ?? (firsts[0] as Prepared);
    if (!this.#tested.isSerial && searches(first)) {
      await this.#calls([first]);
      return;
    }
    const sets = tries.map((by) =>
      this.#prepareApart(
        calls.map((call) => rotated(call, by)),
        1,
      ),
    );
    const others = sets.find((set) => !findsNothing(stateAfter(this.#state, set), first)) ?? (sets[0] as Prepared[]);
    const waitingCall = { ...first, input: waitingInput(first.name, first.input) };
    this.done.push([`${described(waitingCall)} waits`, ...others.map(described)].join(" with "));
    const clientOf = ({ client }: Prepared) => this.#tested.clients[client] as Store;
    const aborter = new AbortController();
    let outcome: Outcome | undefined;
    const answered = outcomeOf(callStore(clientOf(first), waitingCall, aborter.signal)).then((found) => {
      outcome = found;
    });
    const made = await Promise.all(
      others.map(async (call) => ({
        ...call,
        outcome: await outcomeOf(callStore(clientOf(call), call)),
      })),
    );
    const feed = await this.#newRows();
    const statesOf = (waited: Outcome | undefined) =>
      explain(this.#state, ordersWith({ ...waitingCall, outcome: waited }, made), feed, this.#readings);
    if (outcome === undefined) {
      // The calls may also be unexplained because the answer is on its way.
      const states = untilFailure(statesOf(undefined));
      if (states.some((state) => findsNothing(state, waitingCall))) aborter.abort();
      await answered;
    }
    feed.push(...(await this.#newRows()));
    const isCancelled =
      outcome !== undefined && "error" in outcome && (outcome as { error: StoreError }).error.code === "aborted";
    this.#state = await this.#stateOf(statesOf(isCancelled ? undefined : outcome));
    for (const each of [...made, { outcome }])
      if (each.outcome !== undefined && "answer" in each.outcome) this.#state.learn(each.outcome.answer);
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
      files: await listed(store.files.all({ limit: 3 })),
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

/** Returns the states that explain something, or none. */
function untilFailure(states: Iterable<State>): readonly State[] {
  try {
    return [...states];
  } catch (error) {
    if (error instanceof assert.AssertionError) return [];
    throw error;
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
