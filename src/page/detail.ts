// The parts of a view of one row: its facts, what can be done with it, and its tabs.
import type { Action } from "./actions.ts";
import { stateMark } from "./dom.ts";
import type { Fact } from "./facts.ts";
import type { Surroundings, View } from "./view.ts";

/** A tab of a row. The first one is open without a name in the address. */
export interface Tab<Item> {
  readonly name: string;
  readonly title: string;
  readonly scope: string;
  open(
    row: Item,
    surroundings: Surroundings,
    rest: string | undefined,
  ): Pick<View, "element" | "onChanges" | "onReset" | "end">;
}

export interface Detail<Item> {
  readonly kind: string;
  readonly entity: string;
  read(id: string, surroundings: Surroundings): Promise<Item>;
  title(row: Item): string;
  state?(row: Item): string;
  facts(row: Item, surroundings: Surroundings): readonly Fact[];
  actions?(row: Item, surroundings: Surroundings): Action[];
  /** Returns what is shown as JSON, and its title. */
  json?(row: Item): readonly [title: string, value: unknown];
  readonly tabs?: readonly Tab<Item>[];
}

/** Returns the mark of a row's state, if it has one. */
export function markOf<Item>(detail: Detail<Item>, row: Item): HTMLElement | undefined {
  return detail.state === undefined ? undefined : stateMark(detail.state(row));
}

/** Returns a filter with a state, if one is chosen. */
export const filterOf = (filter: object, state: string | undefined): object =>
  state === undefined ? filter : { ...filter, state };
