// The model of the list operations. Rows of one tick may be in any order, so the answers are put into that of the ids.

interface Listed {
  readonly id: string;
}

interface Page {
  readonly items: readonly Listed[];
}

/** The size of a page that holds all rows of a run. */
export const wholePage = { limit: 500 } as const;

export function page<Row extends Listed>(rows: ReadonlyMap<string, Row>, passes: (row: Row) => boolean) {
  return { items: [...rows.values()].filter(passes), nextCursor: undefined };
}

export function byId(answer: unknown): unknown {
  if (!Array.isArray((answer as Page | undefined)?.items)) return answer;
  return { ...(answer as Page), items: inOrderOfIds((answer as Page).items) };
}

export function inOrderOfIds(rows: readonly Listed[]): readonly Listed[] {
  return rows.toSorted((one, other) => (one.id < other.id ? -1 : 1));
}

/** Checks a value against a filter, which may be absent. */
export const fits = <Value>(filter: Value | readonly Value[] | undefined, value: unknown): boolean =>
  filter === undefined || (Array.isArray(filter) ? filter.includes(value as Value) : filter === value);
