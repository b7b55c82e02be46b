// Facts about one row, as a list of terms: what is unknown is left out.
import { type Child, h } from "./dom.ts";

export type Fact = readonly [label: string, value: Child];

export function factList(facts: readonly Fact[]): HTMLElement {
  const known = facts.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return h(
    "dl",
    { class: "facts" },
    ...known.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))),
  );
}

/** Returns JSON to read, folded. */
export function jsonDetails(title: string, value: unknown): HTMLElement | undefined {
  if (value === null || value === undefined) return undefined;
  return h("details", {}, h("summary", {}, title), h("pre", { tabindex: 0 }, JSON.stringify(value, undefined, 2)));
}

/** Returns an id as a whole, in the type of programs. */
export const idText = (id: string | null): Child => (id === null ? null : h("code", {}, id));

/** Returns a link to another row. */
export const rowLink = (kind: string, id: string | null, text: string): Child =>
  id === null ? null : h("a", { href: `#/${kind}/${id}` }, text);
