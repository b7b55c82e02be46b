// Walks over the pages of a `list` operation, one call for each page.
import { StoreError } from "./errors.ts";
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
 * Yields the rows of all pages, and reads each page when its first row is needed. Fails with `aborted` before the next
 * row when the signal has fired.
 */
export async function* rowsOfPages<Row>(
  list: (input: unknown) => Promise<Page<Row>>,
  input: unknown,
  { name, signal }: { readonly name: string; readonly signal: AbortSignal | undefined },
): AsyncGenerator<Row, void, undefined> {
  for (let next = input; ; ) {
    const { items, nextCursor } = await list(next);
    for (const row of items) {
      if (signal?.aborted) throw new StoreError("aborted", undefined, { operation: name, cause: signal.reason });
      yield row;
    }
    if (nextCursor === undefined) return;
    next = { ...(input as object), cursor: nextCursor };
  }
}
