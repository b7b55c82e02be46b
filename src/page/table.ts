// A list of rows that stays current: rows are read as they come into view, and read again when the feed says so.
import { h } from "./dom.ts";
import { filterBar } from "./filterBar.ts";
import type { ChangeJson } from "./json.ts";
import type { Column, Kind } from "./kinds.ts";
import { newestFirst, pageRows, type Source } from "./sources.ts";
import type { Surroundings, View } from "./view.ts";
import { placeAfterKey, VirtualRows } from "./virtualRows.ts";

const rowHeight = 44;
/** The number of rows before the end at which the next ones are read. */
const aheadRows = 200;
/** The number of rows that are read again one by one. */
const singleRowsMax = 8;
/** The time between two looks at rows that have changed, in milliseconds. */
const refreshMs = 300;

export interface TableOptions<Item extends object> {
  readonly kind: Kind<Item>;
  source(state: string | undefined): Source<Item>;
  /** Chooses the changes that concern the list; by default, those of its entity. */
  concerns?(change: ChangeJson): boolean;
  readonly isPlain?: boolean;
}

type Track = Pick<Column<never>, "width" | "isNarrow" | "narrowWidth">;

export class Table<Item extends object> implements View {
  readonly element: HTMLElement;
  readonly title: string;
  readonly #options: TableOptions<Item>;
  readonly #surroundings: Surroundings;
  readonly #rows: VirtualRows;
  readonly #grid: HTMLElement;
  readonly #status = h("p", { class: "status", role: "status" });
  readonly #stale = new Set<string>();
  /** The text of each row in which the filter looks. */
  readonly #searched = new Map<string, string>();
  #source: Source<Item>;
  #all: Item[] = [];
  #shown: readonly Item[] = [];
  #state: string | undefined;
  #text = "";
  #active = 0;
  #loading: AbortController | undefined;
  #isRefreshing = false;
  #isEnded = false;
  #timer = 0;

  constructor(options: TableOptions<Item>, surroundings: Surroundings) {
    const { kind } = options;
    this.#options = options;
    this.#surroundings = surroundings;
    this.title = kind.title;
    this.#source = options.source(undefined);
    this.#rows = new VirtualRows({
      rowHeight,
      className: "table-rows",
      role: "rowgroup",
      keyOf: (index) => kind.idOf(this.#shown[index] as Item),
      create: (index) => this.#rowOf(index),
      onKey: (event) => this.#onKey(event),
      onView: (first, last) => this.#onView(first, last),
    });
    this.#rows.element.tabIndex = -1;
    this.#grid = h("div", { class: "grid", role: "table", "aria-label": kind.title }, this.#head(), this.#rows.element);
    this.element = h(
      "section",
      { class: options.isPlain ? "table plain" : "table" },
      filterBar(kind, {
        hasTitle: options.isPlain !== true,
        status: this.#status,
        onText: (text) => {
          this.#text = text;
          this.#show();
        },
        onState: (state) => this.#choose(state),
      }),
      this.#grid,
    );
    const columns: readonly Track[] = [
      { width: "minmax(9rem, 2fr)", isNarrow: true, narrowWidth: "minmax(0, 1fr)" },
      ...kind.columns,
    ];
    this.element.style.setProperty("--columns", columns.map(({ width }) => width).join(" "));
    const narrow = columns.filter(({ isNarrow }) => isNarrow).map(({ width, narrowWidth = width }) => narrowWidth);
    this.element.style.setProperty("--columns-narrow", narrow.join(" "));
    void this.#load();
    void surroundings.names.load().then(
      () => this.#rows.invalidate(),
      () => undefined,
    );
  }

  end(): void {
    this.#isEnded = true;
    this.#loading?.abort();
    clearTimeout(this.#timer);
  }

  onReset(): void {
    void this.#refreshHead().then((read) => {
      for (const id of this.#all.map(this.#options.kind.idOf)) if (!read.has(id)) this.#stale.add(id);
      this.#rows.schedule();
    });
  }

  onChanges(changes: readonly ChangeJson[]): void {
    const { kind, concerns = ({ entity }) => entity === kind.entity } = this.#options;
    const known = new Set(this.#all.map(kind.idOf));
    const concerning = changes.filter(concerns);
    if (concerning.length === 0) return;
    for (const { entityId } of concerning) this.#stale.add(entityId);
    if (kind.get === undefined || concerning.some(({ entityId }) => !known.has(entityId)))
      this.#timer ||= window.setTimeout(() => {
        this.#timer = 0;
        void this.#refreshHead();
      }, 500);
    this.#rows.schedule();
  }

  #head(): HTMLElement {
    const { kind } = this.#options;
    const cells = [{ label: "Name", isNarrow: true }, ...kind.columns];
    return h(
      "div",
      { class: "row head", role: "row", "aria-rowindex": 1 },
      ...cells.map(({ label, isNarrow }) =>
        h("span", { class: isNarrow ? "cell" : "cell wide", role: "columnheader" }, label),
      ),
    );
  }

  #rowOf(index: number): HTMLElement {
    const { kind } = this.#options;
    const { names } = this.#surroundings;
    const row = this.#shown[index] as Item;
    const cellOf = ({ isNarrow, cell }: Column<Item>) =>
      h("div", { class: isNarrow ? "cell" : "cell wide", role: "cell" }, cell(row, names));
    const link = h(
      "a",
      {
        href: kind.href(row),
        tabindex: index === this.#active ? 0 : -1,
        onfocus: () => this.#activate(kind.idOf(row)),
      },
      // The end of a path says more than its beginning, and is what stays when there is no room.
      h("bdi", {}, kind.link(row, names)),
    );
    return h(
      "div",
      { class: "row", role: "row", "aria-rowindex": index + 2 },
      h("div", { class: kind.isPath ? "cell name is-path" : "cell name", role: "rowheader" }, link),
      ...kind.columns.map(cellOf),
    );
  }

  #activate(id: string): void {
    this.#active = Math.max(
      0,
      this.#shown.findIndex((row) => this.#options.kind.idOf(row) === id),
    );
    for (const link of this.#rows.element.querySelectorAll<HTMLElement>('a[tabindex="0"]')) link.tabIndex = -1;
    if (document.activeElement instanceof HTMLAnchorElement) document.activeElement.tabIndex = 0;
  }

  /** Moves between rows with the keys that lists have. */
  #onKey(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.#rows.element.clientHeight / rowHeight) - 1);
    const last = this.#shown.length - 1;
    const to = last < 0 ? undefined : placeAfterKey(event, this.#active, 1, page, last);
    if (to === undefined) return;
    event.preventDefault();
    this.#rows.reveal(to)?.querySelector("a")?.focus({ preventScroll: true });
  }

  #choose(state: string | undefined): void {
    this.#state = state;
    this.#loading?.abort();
    this.#loading = undefined;
    this.#source = this.#options.source(this.#state);
    this.#all = [];
    this.#show();
    void this.#load();
  }

  #show(): void {
    const { kind } = this.#options;
    const text = this.#text;
    const inState = ({ state }: { readonly state?: string }) => this.#state === undefined || state === this.#state;
    const matches = (row: Item) => text === "" || this.#searched.get(kind.idOf(row))?.includes(text) === true;
    this.#shown = this.#all.filter((row) => inState(row as { state?: string }) && matches(row));
    // The head is a row too.
    this.#grid.setAttribute("aria-rowcount", String(this.#source.isDone ? this.#shown.length + 1 : -1));
    this.#rows.setCount(this.#shown.length);
    this.#say();
  }

  #say(): void {
    const shown = this.#shown.length.toLocaleString("en");
    const more = this.#source.isDone ? "" : "+";
    const isBusy = this.#loading !== undefined && this.#all.length === 0;
    this.#status.textContent = isBusy ? "Loading …" : `${shown}${more} ${this.#shown.length === 1 ? "row" : "rows"}`;
    this.element.classList.toggle("is-empty", !isBusy && this.#shown.length === 0);
  }

  async #load(): Promise<void> {
    if (this.#loading !== undefined || this.#source.isDone || this.#isEnded) return;
    const loading = new AbortController();
    this.#loading = loading;
    this.#say();
    try {
      const rows = await this.#source.next(loading.signal);
      if (loading.signal.aborted) return;
      this.#merge(rows);
    } catch (error) {
      if (!loading.signal.aborted) this.#surroundings.fail(error);
    } finally {
      if (this.#loading === loading) this.#loading = undefined;
      this.#say();
    }
  }

  /** Reads the newest rows, which may be new. Returns their ids, and none while the server does not answer. */
  async #refreshHead(): Promise<ReadonlySet<string>> {
    const read = new Set<string>();
    try {
      const rows = await this.#options.source(this.#state).next(new AbortController().signal);
      if (this.#isEnded) return read;
      for (const row of rows) read.add(this.#options.kind.idOf(row));
      for (const id of read) this.#stale.delete(id);
      this.#merge(rows);
    } catch {
      // The view is brought up to date when the server answers again.
    }
    return read;
  }

  /** Adds rows to those that are there, and replaces what has changed. */
  #merge(rows: readonly Item[]): void {
    const { idOf, link } = this.#options.kind;
    const { names } = this.#surroundings;
    const byId = new Map(this.#all.map((row) => [idOf(row), row]));
    const isFirst = byId.size === 0;
    let hasNew = false;
    for (const row of rows) {
      const id = idOf(row);
      hasNew ||= !byId.has(id);
      const searched = `${JSON.stringify(row)} ${link(row, names)}`.toLowerCase();
      if (this.#searched.get(id) !== searched) this.#rows.invalidate(id);
      this.#searched.set(id, searched);
      byId.set(id, row);
    }
    this.#all = [...byId.values()];
    if (hasNew && !isFirst) this.#all.sort(newestFirst);
    this.#show();
  }

  #onView(first: number, last: number): void {
    // A filter looks in what is loaded: one that finds little would read the whole store.
    if (last + aheadRows > this.#shown.length && this.#text === "") void this.#load();
    const { get, idOf } = this.#options.kind;
    if (get === undefined || this.#stale.size === 0 || this.#isRefreshing) return;
    const visible = this.#shown
      .slice(first, last)
      .map(idOf)
      .filter((id) => this.#stale.delete(id));
    if (visible.length === 0) return;
    this.#isRefreshing = true;
    // A page of rows is one call. Where everything changes all the time, one look in a while is enough.
    const isHead = visible.length > singleRowsMax && last <= pageRows;
    void (isHead ? this.#refreshHead() : this.#refresh(visible, get)).finally(() =>
      setTimeout(() => {
        this.#isRefreshing = false;
        this.#rows.schedule();
      }, refreshMs),
    );
  }

  /** Reads rows again. Those that were deleted stay, and so do all while the server does not answer. */
  async #refresh(ids: readonly string[], [operation, idName]: readonly [string, string]): Promise<void> {
    const answers = await Promise.allSettled(
      ids.map((id) => this.#surroundings.api.call<Item>(operation, { [idName]: id })),
    );
    if (!this.#isEnded) this.#merge(answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : [])));
  }
}
