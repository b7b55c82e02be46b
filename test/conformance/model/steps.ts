// The steps of a run, as they are generated.
import fc from "fast-check";
import { modelled } from "./operations.ts";
import { waiting, waking } from "./waiting.ts";

export interface Call {
  readonly name: string;
  readonly numbers: readonly number[];
  /** Decides whether the call has an idempotency key. Without it, it has none. */
  readonly keying?: Keying;
}

/**
 * A key that is new, or of a call that has run: `repeat` makes that call again, `mismatch` another one with its key.
 * `twin` is a call of the same step once more.
 */
export type Keying = "none" | "new" | "repeat" | "mismatch" | "twin";
const keyings = fc.oneof(
  { weight: 16, arbitrary: fc.constant<Keying>("none") },
  { weight: 4, arbitrary: fc.constantFrom<Keying>("new", "repeat", "mismatch", "twin") },
);

export type Step =
  | { readonly kind: "call"; readonly call: Call; readonly client: number }
  | { readonly kind: "together"; readonly calls: readonly Call[] }
  | { readonly kind: "wait"; readonly waiting: Call; readonly calls: readonly Call[] }
  | { readonly kind: "death"; readonly calls: readonly Call[] }
  | { readonly kind: "move"; readonly ticks: number }
  /** Something ends, or is to stay, and later retention removes what is due. */
  | { readonly kind: "age"; readonly end: Call; readonly ticks: number; readonly prune: Call };

const names = Object.entries(modelled).flatMap(([name, { weight }]) => Array<string>(weight).fill(name));
const callOf = (...from: readonly string[]) =>
  fc.record({
    name: fc.constantFrom(...from),
    numbers: fc.array(fc.nat(359), { minLength: 14, maxLength: 14 }),
    keying: keyings,
  });
/** The calls that end something, or let it stay for longer. */
const ends = [
  "sessions.complete",
  "sessions.complete",
  "artifacts.pin",
  "sessions.cancel",
  "commands.finish",
  "artifacts.delete",
  "tokens.revoke",
  "worktrees.completeEvict",
  "runners.register",
] as const;
const together = (least: number) => fc.array(callOf(...names), { minLength: least, maxLength: 3 });

/** Generates the steps of a run. */
export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 24,
      arbitrary: fc.record({ kind: fc.constant("call" as const), call: callOf(...names), client: fc.nat(2) }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant("move" as const), ticks: fc.constantFrom(1, 2, 3, 6, 12, -1) }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("together" as const), calls: together(2) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("wait" as const),
        waiting: callOf(...waiting),
        calls: fc.array(callOf(...waking, ...waking, ...names), { minLength: 1, maxLength: 2 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("death" as const), calls: together(0) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant("age" as const),
        end: callOf(...ends),
        ticks: fc.constantFrom(1, 1, 2, 3, 5),
        prune: callOf("maintenance.prune"),
      }),
    },
  ),
  { minLength: 20, maxLength: 45, size: "max" },
);

/** The calls with which every run begins, so that the others have something to work on. */
export const beginning: readonly Call[] = [
  // Retention of all kinds, within few ticks.
  { name: "maintenance.setRetention", numbers: [0, 2] },
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

/** Returns a call that makes other choices. */
export const rotated = (call: Call, by: number): Call => ({
  ...call,
  numbers: [...call.numbers.slice(by), ...call.numbers.slice(0, by)],
});
