// The choices of one generated call. They are small numbers that stand for positions in lists, so a call keeps its
// meaning when earlier calls are removed to shrink a sequence, and smaller numbers make simpler calls.
import type { State } from "./state.ts";

const unknownId = "ffffffff-ffff-7fff-bfff-ffffffffffff";

export class Picks {
  readonly #numbers: readonly number[];
  readonly #newId: () => string;
  #next = 0;
  constructor(numbers: readonly number[], newId: () => string) {
    this.#numbers = numbers;
    this.#newId = newId;
  }

  number(): number {
    return this.#numbers[this.#next++ % this.#numbers.length] ?? 0;
  }

  of<Item>(items: readonly Item[]): Item {
    return items[this.number() % items.length] as Item;
  }

  /** Returns true in one of `times` cases. */
  oneIn(times: number): boolean {
    return this.number() % times === times - 1;
  }

  newId(): string {
    return this.#newId();
  }

  /** Returns one of the rows, mostly one of those that the call is meant for, or undefined when there is none. */
  row<Row>(rows: ReadonlyMap<string, Row>, isMeant: (row: Row) => boolean = () => true): Row | undefined {
    const all = [...rows.values()].reverse();
    const meant = all.filter(isMeant);
    const from = meant.length > 0 && !this.oneIn(9) ? meant : all;
    const at = this.number();
    return at % 40 === 39 ? undefined : from[at % Math.max(from.length, 1)];
  }

  idOf(row: { readonly id: string } | undefined): string {
    return row?.id ?? unknownId;
  }

  id<Row extends { readonly id: string }>(rows: ReadonlyMap<string, Row>, isMeant?: (row: Row) => boolean): string {
    return this.idOf(this.row(rows, isMeant));
  }

  /** Returns the fencing token of the row, or now and then another one. */
  fence(row: { readonly fence: number } | undefined): number {
    return Math.max(1, (row?.fence ?? 1) + this.of([0, 0, 0, 0, 0, 0, 0, -1, 1]));
  }

  /** Returns nothing, the version of the row, or now and then another one. */
  version(row: { readonly version: number } | undefined): { readonly expectedVersion?: number } {
    const by = this.of([undefined, undefined, undefined, 0, 0, 1]);
    return by === undefined ? {} : { expectedVersion: (row?.version ?? 1) + by };
  }

  /** Returns an object with the field, or now and then without it. */
  optional<Name extends string, Value>(name: Name, value: Value, times = 2): { readonly [Key in Name]?: Value } {
    return (this.oneIn(times) ? { [name]: value } : {}) as { readonly [Key in Name]?: Value };
  }

  /** Returns the holder of a new lease: a runner, an owner, or both, and now and then the place of the worktree. */
  holder(state: State): { readonly runnerId?: string; readonly owner?: string; readonly place?: string } {
    const runnerId = this.id(state.runners, ({ state }) => state === "online");
    const holder = this.of([
      { runnerId },
      { runnerId },
      { runnerId },
      { owner: "owner" },
      { runnerId, owner: "owner" },
    ]);
    return { ...holder, ...this.place(6) };
  }

  /** Returns one of few places, or nothing. */
  place(times: number): { readonly place?: string } {
    return this.optional("place", this.of(["", "b"]), times);
  }
}
