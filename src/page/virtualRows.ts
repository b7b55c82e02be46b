// Rows of one height, of which only those in view have elements: ten thousand rows of a list, a million lines of a log.

/** The height that an element may have, in pixels. Browsers end at 17 to 33 million. */
const heightMax = 8_000_000;
const overscan = 8;
/** The parts at both ends in which a pixel of the scroll bar is one of the view, so that ends are reached exactly. */
const exactPx = 100_000;
/** The time after a step that goes far in which another one belongs to it, in milliseconds. */
const farMs = 200;

export interface VirtualRowsOptions {
  readonly rowHeight: number;
  /** The name of the part that scrolls, if its role needs one. */
  readonly label?: string;
  readonly className: string;
  readonly role: string;
  /** Returns what identifies the row at an index. Its element is kept while it is in view. */
  keyOf(index: number): string | number;
  create(index: number): HTMLElement;
  /** Handles the keys in place of scrolling by them. */
  onKey?(event: KeyboardEvent): void;
  /** Called after the view has changed. */
  onView?(first: number, last: number): void;
}

export class VirtualRows {
  readonly element = document.createElement("div");
  readonly #spacer = document.createElement("div");
  readonly #layer = document.createElement("div");
  readonly #options: VirtualRowsOptions;
  #elements = new Map<string | number, HTMLElement>();
  #count = 0;
  /** The place of the view in pixels, as if nothing bounded the height. */
  #top = 0;
  #scrolledTo = 0;
  #follows = false;
  #frame = 0;
  #farAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: VirtualRowsOptions) {
    this.#options = options;
    this.element.className = options.className;
    this.element.tabIndex = 0;
    this.element.setAttribute("role", options.role);
    if (options.label !== undefined) this.element.setAttribute("aria-label", options.label);
    this.#spacer.className = "spacer";
    this.#layer.className = "layer";
    for (const part of [this.#spacer, this.#layer]) part.setAttribute("role", "presentation");
    this.#spacer.append(this.#layer);
    this.element.append(this.#spacer);
    this.element.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    // In the middle of a movement, the scroll bar is left alone: to set it ends the movement.
    this.element.addEventListener("scrollend", () => this.#settle(), { passive: true });
    const onKey = options.onKey ?? ((event: KeyboardEvent) => this.#scrollByKey(event));
    this.element.addEventListener("keydown", onKey);
    new ResizeObserver(() => {
      if (this.#follows) this.toEnd();
      this.schedule();
    }).observe(this.element);
  }

  get count(): number {
    return this.#count;
  }

  /** True while the view stays at the end as rows are added. */
  get follows(): boolean {
    return this.#follows;
  }

  get firstVisible(): number {
    return Math.floor(this.#top / this.#options.rowHeight);
  }

  get isAtEnd(): boolean {
    return this.#top >= this.#total - this.#view - this.#options.rowHeight;
  }

  get #view(): number {
    return this.element.clientHeight;
  }

  get #total(): number {
    return this.#count * this.#options.rowHeight;
  }

  get #height(): number {
    return Math.min(this.#total, heightMax);
  }

  setCount(count: number): void {
    if (count !== this.#count) {
      this.#count = count;
      this.#spacer.style.height = `${this.#height}px`;
      this.#top = Math.max(0, Math.min(this.#top, this.#total - this.#view));
      if (this.#follows) this.toEnd();
    }
    this.schedule();
  }

  /** Makes the elements anew when they are drawn next: all of them, or the one of a key. */
  invalidate(key?: string | number): void {
    if (key === undefined) this.#elements = new Map();
    else this.#elements.delete(key);
    this.schedule();
  }

  toEnd(): void {
    this.#follows = true;
    this.#moveTo(this.#total - this.#view);
  }

  /** Brings a row into view: as it is if it is in view already, otherwise to the middle. */
  show(index: number): void {
    const { rowHeight } = this.#options;
    const at = index * rowHeight;
    this.#follows = false;
    if (at < this.#top || at + rowHeight > this.#top + this.#view) this.#moveTo(at - (this.#view - rowHeight) / 2);
    this.schedule();
  }

  /** Brings a row into view with as little movement as possible, draws it, and returns its element. */
  reveal(index: number): HTMLElement | undefined {
    const { rowHeight, keyOf } = this.#options;
    const at = index * rowHeight;
    if (at < this.#top) this.#moveTo(at);
    else if (at + rowHeight > this.#top + this.#view) this.#moveTo(at + rowHeight - this.#view);
    this.#draw();
    return this.#elements.get(keyOf(index));
  }

  schedule(): void {
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #moveTo(top: number): void {
    this.#top = Math.max(0, Math.min(top, this.#total - this.#view));
    this.#settle();
    this.schedule();
  }

  /** Puts the scroll bar where the view is. */
  #settle(): void {
    this.element.scrollTop = placeOf(this.#top, this.#total - this.#view, this.#height - this.#view);
    this.#scrolledTo = this.element.scrollTop;
  }

  /** Scrolls at once: a movement of the browser that a key starts would shift what the next key reaches. */
  #scrollByKey(event: KeyboardEvent): void {
    const { rowHeight } = this.#options;
    const to = placeAfterKey(event, this.#top, rowHeight, Math.max(rowHeight, this.#view - rowHeight), this.#total);
    if (to === undefined) return;
    event.preventDefault();
    this.#moveTo(to);
    this.#follows = this.isAtEnd;
  }

  #onScroll(): void {
    const { scrollTop } = this.element;
    const moved = scrollTop - this.#scrolledTo;
    if (moved === 0) return;
    this.#scrolledTo = scrollTop;
    const all = this.#total - this.#view;
    const most = this.#height - this.#view;
    const nowMs = performance.now();
    if (Math.abs(moved) > 2 * this.#view) this.#farAtMs = nowMs;
    // A wheel moves by pixels. The scroll bar, whose pixels stand for more than one, and keys that go far move in
    // proportion, also with the small steps at the end of an animation.
    const isNear = all > most && nowMs - this.#farAtMs > farMs && scrollTop > 0 && scrollTop < most - 1;
    this.#top = Math.max(0, Math.min(isNear ? this.#top + moved : topAt(scrollTop, all, most), all));
    this.#follows = this.isAtEnd;
    this.schedule();
  }

  #draw(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { rowHeight, keyOf, create, onView } = this.#options;
    const first = Math.max(0, Math.floor(this.#top / rowHeight) - overscan);
    const last = Math.min(this.#count, Math.ceil((this.#top + this.#view) / rowHeight) + overscan);
    const elements = new Map<string | number, HTMLElement>();
    for (let index = first; index < last; index++) {
      const key = keyOf(index);
      elements.set(key, this.#elements.get(key) ?? create(index));
    }
    const kept = new Set<Element>(elements.values());
    for (const child of [...this.#layer.children]) if (!kept.has(child)) child.remove();
    // What is in its place already is not moved, so it keeps the focus.
    let place = this.#layer.firstElementChild;
    for (const element of elements.values()) {
      if (element === place) place = place.nextElementSibling;
      else this.#layer.insertBefore(element, place);
    }
    this.#elements = elements;
    const offset = first * rowHeight - this.#top + this.#scrolledTo;
    this.#layer.style.transform = `translateY(${this.#total === this.#height ? first * rowHeight : offset}px)`;
    onView?.(first, last);
  }
}

/** Returns the place that a key leads to from another one, between 0 and `last`, or nothing for other keys. */
export function placeAfterKey(
  { key, ctrlKey, altKey, metaKey }: KeyboardEvent,
  from: number,
  step: number,
  page: number,
  last: number,
): number | undefined {
  const places: Readonly<Record<string, number>> = {
    ArrowDown: from + step,
    ArrowUp: from - step,
    PageDown: from + page,
    PageUp: from - page,
    Home: 0,
    End: last,
  };
  const to = places[key];
  return to === undefined || ctrlKey || altKey || metaKey ? undefined : Math.max(0, Math.min(to, last));
}

/** Returns the place of the scroll bar for a place of the view. The bar ends at `most`, and the view at `all`. */
export function placeOf(top: number, all: number, most: number): number {
  if (all <= most || top <= exactPx) return top;
  if (all - top <= exactPx) return most - (all - top);
  return exactPx + ((top - exactPx) / (all - 2 * exactPx)) * (most - 2 * exactPx);
}

/** Returns the place of the view for a place of the scroll bar. */
export function topAt(place: number, all: number, most: number): number {
  if (all <= most || place <= exactPx) return place;
  if (most - place <= exactPx) return all - (most - place);
  return exactPx + ((place - exactPx) / (most - 2 * exactPx)) * (all - 2 * exactPx);
}
