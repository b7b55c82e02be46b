// Elements, and values as people read them. Text always becomes a text node, so nothing that a program printed can become
// an element.

export type Child = Node | string | number | null | undefined | false;
type Attributes = Readonly<Record<string, string | number | boolean | undefined | ((event: Event) => void)>>;

/** Returns an element with attributes, listeners (`onclick`) and children. */
export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== undefined && value !== false) element.setAttribute(key, String(value));
  }
  for (const child of children)
    if (child !== null && child !== undefined && child !== false)
      element.append(child instanceof Node ? child : printable(String(child)));
  return element;
}

// biome-ignore lint/complexity/useRegexLiterals: the literal would contain controls.
const unprintable = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]",
  "g",
);

/** Returns text with a mark for each control, and for each character that reverses the direction of what follows. */
export const printable = (text: string): string => text.replace(unprintable, "\ufffd");

/** Returns an element of SVG. */
export function svg(
  name: string,
  attributes: Readonly<Record<string, string | number>>,
  ...children: Node[]
): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** Returns a mark for a state, whose color says whether it is good. */
export function stateMark(state: string): HTMLElement {
  return h("span", { class: `state state-${kindOf(state)}` }, state.replaceAll("_", " "));
}

function kindOf(state: string): "good" | "bad" | "active" | "idle" | "warn" {
  if (["succeeded", "completed", "online", "ready", "live", "ok"].includes(state)) return "good";
  if (["failed", "timed_out", "lost", "gone", "quarantined", "error", "revoked", "expired"].includes(state))
    return "bad";
  if (["running", "leased", "creating", "configuring", "initializing"].includes(state)) return "active";
  if (["cancelling", "draining", "stalled", "dirty", "evicting", "expiring", "stopped"].includes(state)) return "warn";
  return "idle";
}

/** Returns the end of an id: the beginning is a time, and the same for rows of one moment. */
export const shortId = (id: string): string => id.slice(-8);

/** Returns an element with the time since an ISO time, whose title is the time itself. */
export function ago(time: string | null): HTMLElement | string {
  if (time === null) return "";
  const element = h("time", { datetime: time, title: new Date(time).toLocaleString() });
  element.textContent = agoText(time);
  return element;
}

/** Brings the times in an element up to date. */
export function refreshTimes(root: ParentNode): void {
  for (const element of root.querySelectorAll("time")) {
    const text = agoText(element.dateTime);
    if (element.textContent !== text) element.textContent = text;
  }
}

function agoText(time: string): string {
  const ms = Date.now() - Date.parse(time);
  if (Math.abs(ms) < 1_000) return "now";
  return ms < 0 ? `in ${roundDuration(-ms)}` : `${roundDuration(ms)} ago`;
}

const units = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
] as const;

export function duration(ms: number): string {
  const [size, unit] = units.find(([least]) => ms >= least) ?? [1, "ms"];
  const value = ms / size;
  return `${value < 10 && size > 1 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} ${unit}`;
}

function roundDuration(ms: number): string {
  const [size, unit] = units.find(([least]) => ms >= least) ?? [1, "ms"];
  return `${Math.floor(ms / size)} ${unit}`;
}

export function between(from: string | null, to: string | null): string {
  if (from === null) return "";
  return duration(Math.max(0, (to === null ? Date.now() : Date.parse(to)) - Date.parse(from)));
}

export function size(bytes: number | null): string {
  if (bytes === null) return "";
  for (const [unit, scale] of [
    ["TiB", 2 ** 40],
    ["GiB", 2 ** 30],
    ["MiB", 2 ** 20],
    ["KiB", 2 ** 10],
  ] as const)
    if (bytes >= scale) return `${(bytes / scale).toFixed(1)} ${unit}`;
  return `${bytes} B`;
}

export const count = (value: number): string => value.toLocaleString("en");

/** Returns a program and its arguments as a shell would be given them. */
export function commandText(argv: readonly string[]): string {
  return argv.map((part) => (/^[\w@%+=:,./-]+$/.test(part) ? part : `'${part.replaceAll("'", "'\\''")}'`)).join(" ");
}
