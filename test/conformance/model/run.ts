// Runs a generated sequence of steps on a store and on the model, and compares them after each step and at the end.
import assert from "node:assert/strict";
import type { Store, StoreError } from "../../../src/index.ts";
import type { TestClock } from "../../../src/testing/index.ts";
import { assertSound } from "../../support/sound.ts";
import { apart, callStore, described, type Outcome, outcomeOf, type Prepared, searches, writes } from "./calls.ts";
import { requireSame, rowsOf } from "./compare.ts";
import { explain, fromTicks, inTicks, type Made, ordersOf, type Readings } from "./explain.ts";
import { FeedReader } from "./feedRows.ts";
import { modelled } from "./operations.ts";
import { Picks } from "./picks.ts";
import { State, tickMs } from "./state.ts";
import { beginning, type Call, type Keying, rotated, type Step } from "./steps.ts";
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

/** The number of orders of three calls, each of which may also not have run. */
const lostOrdersMax = 16;

class Run {
  readonly #tested: Tested;
  readonly #baseMs: number;
  /** The steps so far, for the message of a failure. */
  readonly done: string[] = [];
  /**
   * The states that explain all that was seen. There are several after a death: the rows do not tell what the stored
   * answers of calls are whose answers were lost. They are repeated at once.
   */
  #possible: readonly State[] = [new State()];
  #ids = 0;
  readonly #feed = new FeedReader();

  constructor(tested: Tested) {
    this.#tested = tested;
    // A second of slack: the clocks of a server and of this process may differ a little.
    this.#baseMs = tested.clock.now() - 1_000;
  }

  get #state(): State {
    return this.#possible[0] as State;
  }

  set #state(state: State) {
    this.#possible = [state];
  }

  get #readings(): Readings {
    return { baseMs: this.#baseMs, isSerial: this.#tested.isSerial };
  }

  async take(step: Step): Promise<unknown> {
    if (step.kind === "move") return this.#move(step.ticks);
    if (step.kind === "call") return this.#calls(this.#prepare([step.call], step.client));
    if (step.kind === "age") return this.#age(step);
    if (step.kind === "wait") return this.#wait(step.waiting, step.calls);
    if (step.kind === "together" || this.#tested.die === undefined) return this.#calls(this.#prepareApart(step.calls));
    // Only with its key can a call be repeated after the death, and then it gets the answer that was lost.
    const calls = this.#prepareApart(step.calls.map((call) => ({ ...call, keying: "new" })));
    const lost = await this.#calls(calls, this.#tested.die);
    for (const call of lost) await this.#calls([call]);
    this.#possible = [this.#state];
  }

  async #age({ end, ticks, prune }: Step & { readonly kind: "age" }): Promise<void> {
    await this.#calls(this.#prepare([end]));
    this.#move(ticks);
    await this.#calls(this.#prepare([prune]));
  }

  #move(ticks: number): void {
    // The times of commands stay when the clock is set back, so a run has one or the other.
    if (ticks < 0 && [...this.#state.commands.values()].some(({ notBefore }) => notBefore !== null)) return;
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
    const answers = made.map((call) => outcomeOf(this.#send(call)));
    await die?.();
    const outcomes = await Promise.all(answers);
    const known = made.flatMap((call, index): (Prepared & Made)[] => {
      const outcome = outcomes[index] as Outcome;
      if (!("error" in outcome) || outcome.error.code !== "closed") return [{ ...call, outcome }];
      assert.ok(die !== undefined, `${call.name}: only a death loses an answer`);
      return outcome.error.outcome === "unknown" ? [{ ...call, outcome: undefined }] : [];
    });
    const feed = await this.#newRows();
    const statesFrom = (state: State) => explain(state, ordersOf(known), feed, this.#readings);
    // Neither the answers nor the feed tell the order of two renewals, of a call whose answer was lost, or of what a call
    // did in its steps: only the rows do.
    if (made.length > 1 || die !== undefined || made.some(({ name }) => modelled[name]?.isAlone))
      this.#possible = await this.#statesLikeStore(statesFrom(this.#state), die === undefined ? 1 : lostOrdersMax);
    else this.#possible = firstOfEach(this.#possible.map(statesFrom));
    for (const { outcome } of known)
      if (outcome !== undefined && "answer" in outcome) for (const state of this.#possible) state.learn(outcome.answer);
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
    const aborter = new AbortController();
    let outcome: Outcome | undefined;
    const answered = outcomeOf(this.#send(waitingCall, aborter.signal)).then((found) => {
      outcome = found;
    });
    const made = await Promise.all(
      others.map(async (call) => ({
        ...call,
        outcome: await outcomeOf(this.#send(call)),
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
    this.#possible = await this.#statesLikeStore(statesOf(isCancelled ? undefined : outcome));
    for (const each of [...made, { outcome }])
      if (each.outcome !== undefined && "answer" in each.outcome) this.#state.learn(each.outcome.answer);
  }

  /** Makes a call of one of the clients, with times in place of ticks. */
  #send(call: Prepared, signal?: AbortSignal) {
    const input = fromTicks(call.input, this.#baseMs) as object;
    return callStore(this.#tested.clients[call.client] as Store, { ...call, input }, signal);
  }

  #newId(): string {
    return `00000000-0000-7000-8000-${String(++this.#ids).padStart(12, "0")}`;
  }

  /** Reads the new rows of the change feed. */
  #newRows() {
    return this.#feed.read(this.#tested.clients[0] as Store);
  }

  /** Returns the first ones of the states that have the rows of the store. */
  async #statesLikeStore(states: Iterable<State>, most = 1): Promise<readonly State[]> {
    const found: State[] = [];
    let observed: object | undefined;
    let difference: unknown;
    for (const state of states) {
      observed ??= await this.#observe();
      try {
        requireSame(observed, state);
        if (found.push(state) === most) return found;
      } catch (error) {
        if (!(error instanceof assert.AssertionError)) throw error;
        difference ??= error;
      }
    }
    if (found.length === 0) throw difference;
    return found;
  }

  async #observe(): Promise<object> {
    const observed = await rowsOf(this.#tested.clients[0] as Store);
    assert.equal((await this.#newRows()).length, 0, "reads change nothing");
    return inTicks(observed, this.#baseMs) as object;
  }

  /** Compares all rows of the store with those of the model. */
  async compare(): Promise<void> {
    requireSame(await this.#observe(), this.#state);
  }
}

/** Returns the first state of each of the explanations that succeed; fails when there is none. */
function firstOfEach(explanations: readonly Generator<State, void>[]): readonly State[] {
  const found: State[] = [];
  let difference: unknown;
  for (const explanation of explanations) {
    try {
      found.push(explanation.next().value as State);
    } catch (error) {
      if (!(error instanceof assert.AssertionError)) throw error;
      difference ??= error;
    }
  }
  if (found.length === 0) throw difference;
  return found;
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
