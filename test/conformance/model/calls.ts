// The calls of clients: what they look like, which may be made together, and how they are made.
import { inspect } from "node:util";
import { type Store, StoreError } from "../../../src/index.ts";
import type { AnyOperation } from "../../../src/operation.ts";
import { operations } from "../../../src/operations/table.ts";
import { present } from "../../../src/present.ts";
import { modelled } from "./operations.ts";

/** The operations that write; for the others, an idempotency key means nothing. */
export const writes = new Set(
  Object.keys(modelled).filter((name) => {
    const [entity, verb] = name.split(".") as [keyof typeof operations, string];
    return (operations[entity] as Readonly<Record<string, AnyOperation>>)[verb]?.access === "write";
  }),
);
/**
 * Checks whether a call looks for rows that it does not name. Where transactions run side by side, its statements may see
 * different commits, and it passes over rows that others have locked: then no order of the calls explains it.
 */
export const searches = ({ name, input }: Prepared): boolean => "reserve" in input || searching.has(name);
const searching = new Set([
  "commands.claim",
  "files.claim",
  "maintenance.reap",
  "runners.register",
  "worktrees.reserve",
  "worktrees.evict",
  "worktrees.evictUnused",
]);

/** Leaves out the calls that cannot be made with others, such as appends that the client would join. */
export function apart(calls: readonly Prepared[], isSerial: boolean): readonly Prepared[] {
  return calls.filter(
    (call, index) =>
      modelled[call.name]?.isAlone === false &&
      (isSerial || !searches(call)) &&
      (call.name !== "logs.append" || calls.findIndex(({ name }) => name === call.name) === index),
  );
}

/** A call of a client, ready to be made. */
export interface Prepared {
  readonly name: string;
  readonly input: object;
  readonly client: number;
  readonly actor: string;
  readonly key?: string;
}

export const described = ({ name, input, key }: Prepared): string =>
  `${name} ${inspect(input, { depth: 5 })}${key === undefined ? "" : ` with the key ${key}`}`;

export type Outcome = { readonly answer: unknown } | { readonly error: StoreError };

type AnyCall = (input: object, options: object) => Promise<unknown>;

export function callStore(store: Store, { name, input, actor, key }: Prepared, signal?: AbortSignal) {
  const [entity, verb] = name.split(".") as [string, string];
  const verbs = store[entity as keyof Store] as unknown as Record<string, AnyCall>;
  return (verbs[verb] as AnyCall)(input, { actor, ...present({ idempotencyKey: key, signal }) });
}

export async function outcomeOf(answer: Promise<unknown>): Promise<Outcome> {
  try {
    return { answer: await answer };
  } catch (error) {
    if (error instanceof StoreError) return { error };
    throw error;
  }
}
