// Walks over the pages of a `list` operation, one call for each page.
import { Iteration } from "./iteration.ts";
import type { AnyOperation } from "./operation.ts";

/** One page of a list; the last one has no cursor. */
export interface Page<Row> {
  readonly items: readonly Row[];
  readonly nextCursor?: string | undefined;
}

/** Checks whether an operation returns pages that a cursor continues. */
export function isPaged({ keys }: AnyOperation): boolean {
  return keys.includes("cursor");
}

/**
 * Iterates over the rows of all pages, and reads each page when its first row is needed. Fails with `aborted` before
 * the next row when the signal has fired.
 */
export function rowsOfPages<Row>(
  list: (input: unknown, signal: AbortSignal) => Promise<Page<Row>>,
  input: unknown,
  options: { readonly name: string; readonly signal: AbortSignal | undefined },
): AsyncGenerator<Row, void, undefined> {
  let nextInput = input;
  const load = async (signal: AbortSignal) => {
    const { items, nextCursor } = await list(nextInput, signal);
    nextInput = { ...(input as object), cursor: nextCursor };
    return { items, isLast: nextCursor === undefined };
  };
  return new Iteration(load, options);
}
