// A chart of the last minutes: a line for each figure, on one scale.
import { h, svg } from "./dom.ts";

export interface Series {
  readonly name: string;
  /** The number of its color in the style sheet. */
  readonly color: 1 | 2 | 3;
}

const [width, height] = [320, 96];
/** The number of samples in view. */
const samplesMax = 120;

export class Chart {
  readonly element: HTMLElement;
  readonly #title: string;
  readonly #format: (value: number) => string;
  readonly #series: readonly Series[];
  readonly #values: number[][];
  readonly #lines: readonly SVGElement[];
  readonly #legend: readonly HTMLElement[];
  readonly #top = h("span", { class: "top" });
  readonly #picture: SVGElement;

  constructor(title: string, series: readonly Series[], format: (value: number) => string) {
    this.#title = title;
    this.#series = series;
    this.#format = format;
    this.#values = series.map(() => []);
    this.#lines = series.map(({ color }) => svg("path", { class: `line-${color}`, fill: "none" }));
    this.#legend = series.map(() => h("b", {}, "–"));
    this.#picture = svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": title },
      ...[0.25, 0.5, 0.75].map((part) => svg("path", { class: "grid", d: `M0 ${height * part}H${width}` })),
      ...this.#lines,
    );
    this.element = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, h("span", {}, title), this.#top),
      h("div", { class: "plot" }, this.#picture as Node),
      h(
        "div",
        { class: "legend" },
        ...series.map(({ name, color }, index) =>
          h("span", { class: `key key-${color}` }, name, " ", this.#legend[index]),
        ),
      ),
    );
  }

  /** Adds a sample: a value for each series. */
  add(sample: readonly number[]): void {
    for (const [index, values] of this.#values.entries()) {
      values.push(sample[index] ?? 0);
      if (values.length > samplesMax) values.shift();
    }
    const most = Math.max(1, ...this.#values.flat()) * 1.1;
    for (const [index, values] of this.#values.entries()) {
      this.#lines[index]?.setAttribute("d", pathOf(values, most));
      const last = values.at(-1) ?? 0;
      (this.#legend[index] as HTMLElement).textContent = this.#format(last);
    }
    this.#top.textContent = `up to ${this.#format(Math.max(...this.#values.flat()))}`;
    const spoken = this.#series.map(({ name }, index) => `${name} ${this.#format(this.#values[index]?.at(-1) ?? 0)}`);
    this.#picture.setAttribute("aria-label", `${this.#title}: ${spoken.join(", ")}`);
  }
}

function pathOf(values: readonly number[], most: number): string {
  const step = width / (samplesMax - 1);
  const from = samplesMax - values.length;
  return values
    .map((value, index) => {
      const place = `${((from + index) * step).toFixed(1)} ${(height - (value / most) * height).toFixed(1)}`;
      return `${index === 0 ? "M" : "L"}${place}`;
    })
    .join("");
}
