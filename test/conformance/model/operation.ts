// An operation as the model knows it: how often and with which inputs it is called, and what it does to the state.
import type { Operation } from "../../../src/operation.ts";
import type { Operations } from "../../../src/operations/table.ts";
import type { Picks } from "./picks.ts";
import type { State } from "./state.ts";

type InputOf<Entry> = Entry extends Operation<infer Input, infer _Output, infer _Item> ? Input : never;

export interface ModelOperation {
  /** The number of calls among those of all operations. */
  readonly weight: number;
  /** True for a call that is not made together with others, for example because the client makes it in several steps. */
  readonly isAlone: boolean;
  /** The field that says how long the call waits. */
  readonly waits?: "waitMs" | "timeoutMs";
  input(picks: Picks, state: State): object;
  /** Returns the answer, and changes the state; or throws a Failure. */
  run(input: object, state: State): unknown;
  /** Checks whether an answer or a failure means that the call has found nothing yet, so that it waits if it may. */
  isMiss(input: object, result: unknown, state: State): boolean;
  /** Checks whether the answer of a call with an idempotency key is stored. */
  isStored(input: object, answer: unknown, state: State): boolean;
  /** Returns the answer that is stored. */
  withoutSecret(answer: unknown): unknown;
  /** Brings an answer whose order the contract leaves open into one order. */
  ordered(answer: unknown): unknown;
}

type Verbs<Entity extends keyof Operations> = {
  readonly [Verb in keyof Operations[Entity]]?: {
    readonly weight?: number;
    readonly isAlone?: boolean;
    input(picks: Picks, state: State): InputOf<Operations[Entity][Verb]>;
    run(input: InputOf<Operations[Entity][Verb]>, state: State): unknown;
    readonly waits?: "waitMs" | "timeoutMs";
    isMiss?(input: InputOf<Operations[Entity][Verb]>, result: unknown, state: State): boolean;
    isStored?(input: InputOf<Operations[Entity][Verb]>, answer: unknown, state: State): boolean;
    withoutSecret?(answer: unknown): unknown;
    ordered?(answer: unknown): unknown;
  };
};

const defaults = {
  weight: 1,
  isAlone: false,
  isMiss: () => false,
  isStored: () => true,
  withoutSecret: (answer: unknown) => answer,
  ordered: (answer: unknown) => answer,
} as const;

/** Returns the operations of an entity, by their full names. */
export function modelOf<Entity extends keyof Operations>(entity: Entity, verbs: Verbs<Entity>) {
  const entries = Object.entries(verbs) as [string, Partial<ModelOperation> & Pick<ModelOperation, "input" | "run">][];
  return Object.fromEntries(
    entries.map(([verb, operation]): [string, ModelOperation] => [`${entity}.${verb}`, { ...defaults, ...operation }]),
  );
}
