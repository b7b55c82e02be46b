// The view of one row, which is read again when it has changed.
import { actionButtons } from "./actions.ts";
import { Problem } from "./api.ts";
import { type Detail, markOf, type Tab } from "./detail.ts";
import { h, printable } from "./dom.ts";
import { factList, jsonDetails } from "./facts.ts";
import type { ChangeJson } from "./json.ts";
import type { Surroundings, View } from "./view.ts";

export class DetailView<Item> implements View {
  readonly element = h("article", { class: "detail" });
  title: string;
  readonly #detail: Detail<Item>;
  readonly #id: string;
  readonly #surroundings: Surroundings;
  readonly #head = h("header", {});
  readonly #heading = h("h1", { tabindex: -1 });
  readonly #mark = h("span", {});
  readonly #actions = h("div", { class: "actions" });
  readonly #facts = h("div", {});
  readonly #panel = h("div", { class: "panel" });
  #tab: ReturnType<Tab<Item>["open"]> | undefined;
  #row: Item | undefined;
  #offered = "";
  #isEnded = false;
  #again = 0;

  constructor(
    detail: Detail<Item>,
    id: string,
    [tab, rest]: readonly (string | undefined)[],
    surroundings: Surroundings,
  ) {
    this.#detail = detail;
    this.#id = id;
    this.#surroundings = surroundings;
    this.title = "…";
    const list = detail.kind === "artifacts" ? "sessions" : detail.kind;
    this.#head.append(
      h("a", { class: "back", href: `#/${list}` }, `← All ${list}`),
      h("div", { class: "heading" }, this.#heading, this.#mark, this.#actions),
    );
    this.element.append(this.#head, this.#facts, this.#panel);
    void this.#read(tab, rest);
  }

  end(): void {
    this.#isEnded = true;
    clearTimeout(this.#again);
    this.#tab?.end?.();
  }

  onReset(): void {
    if (this.#row !== undefined) void this.#read();
    this.#tab?.onReset?.();
  }

  onChanges(changes: readonly ChangeJson[]): void {
    const isOwn = ({ entity, entityId, sessionId }: ChangeJson) =>
      (entity === this.#detail.entity && entityId === this.#id) || sessionId === this.#id;
    if (changes.some(isOwn)) this.#readSoon();
    this.#tab?.onChanges?.(changes);
  }

  #readSoon(): void {
    clearTimeout(this.#again);
    this.#again = window.setTimeout(() => void this.#read(), 100);
  }

  async #read(tab?: string, rest?: string): Promise<void> {
    try {
      const [row] = await Promise.all([
        this.#detail.read(this.#id, this.#surroundings),
        this.#row === undefined ? this.#surroundings.names.load().catch(() => undefined) : undefined,
      ]);
      if (this.#isEnded) return;
      const isFirst = this.#row === undefined;
      this.#row = row;
      this.#show(row);
      if (isFirst) this.#open(row, tab, rest);
    } catch (error) {
      if (this.#isEnded) return;
      if (this.#row === undefined) this.#fail(error);
      else if (!(error instanceof Problem && error.retryable)) this.#surroundings.fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#heading.textContent = "Not found";
    this.title = "Not found";
    this.#panel.replaceChildren(h("p", { class: "empty" }, (error as Error).message));
  }

  #show(row: Item): void {
    const detail = this.#detail;
    this.title = printable(detail.title(row));
    document.title = `${this.title} – debug-server-db`;
    const [shown] = this.#heading.children;
    if (shown?.textContent !== this.title) this.#heading.replaceChildren(h("bdi", {}, this.title));
    this.#mark.replaceChildren(...[markOf(detail, row) ?? ""]);
    const actions = detail.actions?.(row, this.#surroundings) ?? [];
    // Buttons stay while they would do the same, so that they keep the focus.
    const offered = JSON.stringify(actions.map(({ label, input }) => [label, input({})]));
    if (offered !== this.#offered)
      this.#actions.replaceChildren(...actionButtons(actions, this.#surroundings, () => this.#readSoon()));
    this.#offered = offered;
    const isOpen = this.#facts.querySelector("details")?.open === true;
    const json = jsonDetails(...(detail.json?.(row) ?? ["", null]));
    if (json instanceof HTMLDetailsElement) json.open = isOpen || detail.tabs === undefined;
    this.#facts.replaceChildren(factList(detail.facts(row, this.#surroundings)), ...(json === undefined ? [] : [json]));
  }

  #open(row: Item, name: string | undefined, rest: string | undefined): void {
    const tabs = (this.#detail.tabs ?? []).filter(({ scope }) => this.#surroundings.api.may(scope));
    const tab = tabs.find((each) => each.name === name) ?? tabs[0];
    if (tab === undefined) {
      this.#panel.remove();
      return;
    }
    const address = `#/${this.#detail.kind}/${this.#id}`;
    const links = tabs.map((each) =>
      h("a", { href: `${address}/${each.name}`, "aria-current": each === tab ? "page" : undefined }, each.title),
    );
    this.#tab = tab.open(row, this.#surroundings, rest);
    const nav = tabs.length > 1 ? h("nav", { class: "tabs", "aria-label": "Parts" }, ...links) : undefined;
    this.#panel.replaceChildren(...(nav === undefined ? [] : [nav]), this.#tab.element);
  }
}
