// The health of the server: its checks, its figures as they change, and the round trips of this page.
import { Chart } from "./chart.ts";
import { count, duration, h, size, stateMark } from "./dom.ts";
import { type Fact, factList } from "./facts.ts";
import type { StatsJson } from "./json.ts";
import type { Surroundings, View } from "./view.ts";

const sampleMs = 1_000;

interface Checks {
  readonly status: string;
  readonly checks: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

const whole = (value: number) => count(Math.round(value));
const perSecond = (value: number) => `${value < 10 ? value.toFixed(1) : whole(value)}/s`;
const milliseconds = (value: number) => `${value < 10 ? value.toFixed(1) : whole(value)} ms`;

export class HealthView implements View {
  readonly title = "Health";
  readonly element: HTMLElement;
  readonly #surroundings: Surroundings;
  readonly #ready = h("span", {});
  readonly #checks = h("div", { class: "cards" });
  readonly #figures = h("div", {});
  readonly #rows = h("div", { class: "cards" });
  readonly #queue = new Chart(
    "Queue depth",
    [
      { name: "commands queued", color: 1 },
      { name: "running", color: 2 },
      { name: "calls waiting", color: 3 },
    ],
    whole,
  );
  readonly #throughput = new Chart(
    "Throughput",
    [
      { name: "calls", color: 1 },
      { name: "commits", color: 2 },
    ],
    perSecond,
  );
  readonly #latency = new Chart(
    "Latency",
    [
      { name: "wait in the queue", color: 1 },
      { name: "slowest lane", color: 3 },
    ],
    milliseconds,
  );
  readonly #trips = new Chart(
    "Round trips",
    [
      { name: "last", color: 1 },
      { name: "median", color: 2 },
    ],
    milliseconds,
  );
  readonly #timer: number;
  #before: { readonly atMs: number; readonly stats: StatsJson } | undefined;
  #isBusy = false;

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
    const isAdmin = surroundings.api.may("admin");
    const charts = isAdmin ? [this.#queue, this.#throughput, this.#latency, this.#trips] : [this.#trips];
    this.element = h(
      "section",
      { class: "health" },
      h("div", { class: "heading" }, h("h1", { tabindex: -1 }, "Health"), this.#ready),
      isAdmin ? undefined : h("p", { class: "hint" }, "The figures of the server need a token with the scope admin."),
      h("div", { class: "charts" }, ...charts.map(({ element }) => element)),
      h("h2", {}, "Checks"),
      this.#checks,
      ...(isAdmin ? [h("h2", {}, "Rows"), this.#rows, h("h2", {}, "Server"), this.#figures] : []),
    );
    this.#timer = window.setInterval(() => void this.#sample(), sampleMs);
    void this.#sample();
  }

  end(): void {
    clearInterval(this.#timer);
  }

  async #sample(): Promise<void> {
    if (this.#isBusy || document.hidden) return;
    this.#isBusy = true;
    const { api } = this.#surroundings;
    try {
      const response = await api.get("readyz?verbose");
      this.#showChecks((await response.json()) as Checks);
      if (api.may("admin")) this.#showStats(await api.call<StatsJson>("maintenance.stats"));
      else await api.readSelf();
      const trips = api.latencies;
      const median = [...trips].sort((one, other) => one - other)[Math.floor(trips.length / 2)] ?? 0;
      this.#trips.add([trips.at(-1) ?? 0, median]);
    } catch {
      // The page shows that the server cannot be reached.
    } finally {
      this.#isBusy = false;
    }
  }

  #showChecks({ status, checks }: Checks): void {
    this.#ready.replaceChildren(stateMark(status === "ok" ? "ready" : "error"));
    this.#checks.replaceChildren(
      ...Object.entries(checks).map(([name, { ok, ...figures }]) =>
        h(
          "div",
          { class: "card" },
          h("h3", {}, titles[name] ?? name, " ", stateMark(ok === true ? "ok" : "failed")),
          factList(Object.entries(figures).map(([label, value]): Fact => [wordsOf(label), textOf(label, value)])),
        ),
      ),
    );
  }

  #showStats(stats: StatsJson): void {
    const atMs = performance.now();
    const { rows, serving, lanes, ages, database, logBytes } = stats;
    const { commands = {} } = rows;
    const waiting = Object.values(lanes).reduce((sum, { queued = 0 }) => sum + queued, 0);
    this.#queue.add([commands.queued ?? 0, (commands.running ?? 0) + (commands.cancelling ?? 0), waiting]);
    if (this.#before !== undefined) {
      const before = this.#before.stats;
      const seconds = (atMs - this.#before.atMs) / 1_000;
      const grown = (name: string) => Math.max(0, (serving[name] ?? 0) - (before.serving[name] ?? 0));
      this.#throughput.add([grown("calls") / seconds, grown("commits") / seconds]);
      const laneWaits = Object.entries(lanes).map(([lane, figures]) => {
        const earlier = before.lanes[lane as keyof typeof lanes];
        return ratio(
          (figures.waitMsTotal ?? 0) - (earlier?.waitMsTotal ?? 0),
          (figures.calls ?? 0) - (earlier?.calls ?? 0),
        );
      });
      this.#latency.add([ratio(grown("waitMsTotal"), grown("calls")), Math.max(0, ...laneWaits)]);
    }
    this.#before = { atMs, stats };
    this.#rows.replaceChildren(
      ...Object.entries(rows).map(([name, states]) =>
        h(
          "div",
          { class: "card" },
          h("h3", {}, wordsOf(name)),
          Object.keys(states).length === 0
            ? h("p", { class: "hint" }, "None")
            : factList(Object.entries(states).map(([state, amount]): Fact => [wordsOf(state), count(amount)])),
        ),
      ),
    );
    this.#figures.replaceChildren(
      factList([
        ["Oldest queued command", age(ages.queuedMs)],
        ["Oldest running command", age(ages.runningMs)],
        ["Oldest lease", age(ages.leasedMs)],
        ["Clients", count(serving.clients ?? 0)],
        ["Parked calls", count(serving.parked ?? 0)],
        ["Calls so far", count(serving.calls ?? 0)],
        ["Sealed logs", size(logBytes)],
        ["Engine", String(database.engine ?? "")],
        ["Database", typeof database.file_bytes === "number" ? size(database.file_bytes) : null],
        ["Write-ahead log", typeof database.wal_bytes === "number" ? size(database.wal_bytes) : null],
      ]),
    );
  }
}

const ratio = (sum: number, amount: number) => (amount > 0 ? Math.max(0, sum / amount) : 0);
const age = (ms: number | null) => (ms === null ? "none" : duration(ms));

const titles: Readonly<Record<string, string>> = {
  ping: "Answer",
  schema: "Schema",
  lastWrite: "Last write",
  file: "File",
  space: "Space",
  queue: "Queues",
};

/** Returns a name of the store's as words. */
function wordsOf(name: string): string {
  const words = name
    .replace(/([A-Z])/g, " $1")
    .replaceAll("_", " ")
    .toLowerCase()
    .replace(/ ms$/, "");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function textOf(name: string, value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "number" && name.endsWith("Ms")) return duration(value);
  if (typeof value === "number" && name.endsWith("Bytes")) return size(value);
  if (typeof value === "number" && name === "percent") return `${value} %`;
  return String(value);
}
