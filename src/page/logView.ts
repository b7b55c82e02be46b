// The view of a log: its lines in color, search in what is loaded, and the end, at which it stays as the log grows.
import { type Piece, piecesOf, type Style } from "./ansi.ts";
import { count, h, printable, size } from "./dom.ts";
import { LogSearch } from "./logSearch.ts";
import { LogText } from "./logText.ts";
import { VirtualRows } from "./virtualRows.ts";

const lineHeight = 20;

export class LogView {
  readonly text = new LogText();
  readonly element: HTMLElement;
  readonly #rows: VirtualRows;
  readonly #status = h("span", { class: "status", role: "status" });
  readonly #found = h("span", { class: "found", role: "status" });
  readonly #input = h("input", {
    type: "search",
    placeholder: "Search",
    "aria-label": "Search in the log",
    oninput: () => this.#startSearch(),
    onkeydown: (event) => this.#onSearchKey(event as KeyboardEvent),
  });
  readonly #endButton = h("button", { type: "button", onclick: () => this.#rows.toEnd() }, "Jump to end");
  #search: LogSearch | undefined;
  #current = -1;
  #state = "live";

  /** `name` is that of the file in which the log is saved. */
  constructor(name: string) {
    this.#rows = new VirtualRows({
      rowHeight: lineHeight,
      label: "Log",
      className: "log-lines",
      role: "region",
      keyOf: (index) => index,
      create: (index) => this.#lineOf(index),
      onView: () => this.#endButton.classList.toggle("is-at-end", this.#rows.follows),
    });
    this.element = h(
      "section",
      { class: "log" },
      h(
        "div",
        { class: "bar" },
        this.#input,
        h("button", { type: "button", "aria-label": "Previous match", onclick: () => this.#step(-1) }, "↑"),
        h("button", { type: "button", "aria-label": "Next match", onclick: () => this.#step(1) }, "↓"),
        this.#found,
        this.#status,
        h("button", { type: "button", onclick: () => this.#save(name) }, "Save"),
        this.#endButton,
      ),
      this.#rows.element,
    );
    this.#rows.toEnd();
  }

  /** Draws what was added to the text. */
  update(): void {
    const before = this.#rows.count;
    // The last line may have grown.
    if (before > 0) this.#rows.invalidate(before - 1);
    this.#rows.setCount(this.text.lineCount);
    this.#say();
    void this.#search?.run();
  }

  /** Shows what the log is: live, complete, cut off. */
  setState(state: string): void {
    this.#state = state;
    this.#say();
  }

  end(): void {
    this.#search?.end();
  }

  #say(): void {
    const { lineCount, byteCount } = this.text;
    this.#status.textContent = `${count(lineCount)} ${lineCount === 1 ? "line" : "lines"} · ${size(byteCount)} · ${this.#state}`;
    this.element.dataset.state = this.#state;
  }

  #lineOf(index: number): HTMLElement {
    const kind = this.text.kindOf(index);
    const line = this.text.line(index);
    const element = h("div", { class: `line line-${kind}` });
    const { pieces } =
      kind === "note" || kind === "phase"
        ? { pieces: [{ text: line, style: {} }] }
        : piecesOf(line, this.text.styleAt(index));
    for (const piece of pieces) element.append(...this.#spansOf(piece));
    if (index === this.#search?.hits[this.#current]) element.classList.add("is-current");
    return element;
  }

  /** Returns the nodes of a piece: text, in a span if it has a style, with what is searched marked. */
  #spansOf({ text, style }: Piece): Node[] {
    const query = this.#search?.query ?? "";
    const lower = query === "" ? "" : text.toLowerCase();
    const nodes: Node[] = [];
    let at = 0;
    if (lower.length === text.length && query !== "")
      for (let found = lower.indexOf(query); found !== -1; found = lower.indexOf(query, at)) {
        nodes.push(document.createTextNode(printable(text.slice(at, found))));
        at = found + query.length;
        nodes.push(h("mark", {}, text.slice(found, at)));
      }
    nodes.push(document.createTextNode(printable(text.slice(at))));
    if (Object.keys(style).length === 0) return nodes;
    const span = h("span", {}, ...nodes);
    paint(span, style);
    return [span];
  }

  #startSearch(): void {
    this.#search?.end();
    this.#current = -1;
    const query = this.#input.value;
    this.#search = query === "" ? undefined : new LogSearch(this.text, query, () => this.#onFound());
    this.#found.textContent = "";
    this.#rows.invalidate();
    void this.#search?.run();
  }

  #onFound(): void {
    const search = this.#search;
    if (search === undefined) return;
    if (this.#current === -1 && search.hits.length > 0) {
      const from = this.#rows.firstVisible;
      const next = search.hits.findIndex((line) => line >= from);
      // The first match in view or behind it, once one is found there; at the end, the first of all.
      if (next !== -1 || search.isDone) this.#goTo(Math.max(0, next));
    }
    const total = `${count(search.hits.length)}${search.isFull ? "+" : ""}`;
    this.#found.textContent =
      search.hits.length === 0
        ? search.isDone
          ? "No match"
          : "Searching …"
        : `${count(this.#current + 1)} of ${total}`;
  }

  #step(by: number): void {
    const search = this.#search;
    if (search === undefined || search.hits.length === 0) return;
    this.#goTo((this.#current + by + search.hits.length) % search.hits.length);
    this.#onFound();
  }

  #goTo(hit: number): void {
    this.#current = hit;
    this.#rows.invalidate();
    this.#rows.show(this.#search?.hits[hit] ?? 0);
  }

  #onSearchKey(event: KeyboardEvent): void {
    if (event.key !== "Enter") return;
    event.preventDefault();
    this.#step(event.shiftKey ? -1 : 1);
  }

  #save(name: string): void {
    const url = URL.createObjectURL(new Blob(this.text.blocks, { type: "application/octet-stream" }));
    h("a", { href: url, download: `${name}.log` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }
}

/** Gives an element a style, by properties: the policy of the page refuses the attribute. */
function paint(
  { style, classList }: HTMLElement,
  { color, background, bold, dim, italic, underline, inverse }: Style,
): void {
  const [front, back] = inverse ? [background ?? "var(--surface)", color ?? "var(--text)"] : [color, background];
  if (front !== undefined) style.color = front;
  else if (back !== undefined) style.color = readableOn(back);
  if (back !== undefined) style.backgroundColor = back;
  if (bold) classList.add("ansi-bold");
  if (dim) classList.add("ansi-dim");
  if (italic) classList.add("ansi-italic");
  if (underline) classList.add("ansi-underline");
}

/** Returns black or white, whichever is readable on a color, unless the theme knows the color. */
function readableOn(color: string): string {
  const [red, green, blue] = (color.match(/^rgb\((\d+) (\d+) (\d+)\)$/)?.slice(1) ?? []).map(Number);
  if (red === undefined || green === undefined || blue === undefined) return "var(--surface)";
  return 0.3 * red + 0.59 * green + 0.11 * blue > 128 ? "#000" : "#fff";
}
