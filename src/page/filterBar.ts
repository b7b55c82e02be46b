// The bar above a list: its title, the choice of a state, a filter for text, and how many rows there are.
import { h } from "./dom.ts";
import type { Kind } from "./kinds.ts";

export interface FilterBarOptions {
  readonly hasTitle: boolean;
  readonly status: HTMLElement;
  /** Receives what is typed, in lower case. */
  onText(text: string): void;
  /** Receives the state that is chosen; undefined for all. */
  onState(state: string | undefined): void;
}

export function filterBar<Item extends object>(
  { title, states }: Pick<Kind<Item>, "title" | "states">,
  { hasTitle, status, onText, onState }: FilterBarOptions,
): HTMLElement {
  const filter = h("input", {
    type: "search",
    placeholder: "Filter what is loaded",
    "aria-label": `Filter ${title.toLowerCase()}`,
    oninput: () => onText(filter.value.toLowerCase()),
  });
  const choice = h(
    "select",
    { "aria-label": "State", onchange: () => onState(choice.value === "" ? undefined : choice.value) },
    h("option", { value: "" }, "All states"),
    ...(states ?? []).map((state) => h("option", { value: state }, state.replaceAll("_", " "))),
  );
  const heading = hasTitle ? h("h1", { tabindex: -1 }, title) : undefined;
  return h("div", { class: "bar" }, heading, states === undefined ? undefined : choice, filter, status);
}
