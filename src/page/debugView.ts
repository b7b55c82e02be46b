// A debug session as it is: where it has stopped, its frames and variables, its breakpoints, its last events and its
// history, and what a person can ask its debugger.
import { DebuggerBar } from "./debuggerBar.ts";
import { DebugHistory } from "./debugHistory.ts";
import { ago, h, printable, shortId, stateMark } from "./dom.ts";
import { factList, idText, jsonDetails, rowLink } from "./facts.ts";
import type { ChangeJson, DebugEventJson, DebugViewJson } from "./json.ts";
import { placeOf, StopView } from "./stopView.ts";
import type { Surroundings, View } from "./view.ts";

/** The time for which events are collected before the state is read again, in milliseconds. */
const settleMs = 80;
/** The tries to read the frames of a stop, which are stored a moment after it. */
const triesMax = 10;

export class DebugSessionView implements View {
  readonly element = h("article", { class: "detail debug" });
  title = "Debug session";
  readonly #id: string;
  readonly #surroundings: Surroundings;
  readonly #heading = h("h1", { tabindex: -1 }, "Debug session");
  readonly #mark = h("span", {});
  readonly #facts = h("div", {});
  readonly #position = h("p", { class: "position", role: "status" });
  readonly #stop = new StopView();
  readonly #stops = h("select", { "aria-label": "Stop", onchange: () => this.#choose() });
  readonly #breakpoints = h("div", {});
  readonly #events = h("div", {});
  readonly #ended = new AbortController();
  readonly #bar: DebuggerBar;
  readonly #history: DebugHistory;
  #view: DebugViewJson | undefined;
  /** The stop that is shown; undefined for the present one. */
  #epoch: number | undefined;
  /** True once a person has chosen a stop. Until then, the last stop of one that has ended is shown. */
  #isChosen = false;
  #isFollowing = false;
  /** The run of the adapter whose events have all been followed. */
  #followedRun = 0;
  #timer = 0;
  #tries = 0;

  constructor(id: string, surroundings: Surroundings) {
    this.#id = id;
    this.#surroundings = surroundings;
    this.#bar = new DebuggerBar(surroundings, this.#ended.signal);
    this.#history = new DebugHistory(surroundings.api, id);
    const part = (title: string, content: HTMLElement, tool?: HTMLElement) =>
      h(
        "section",
        { class: title === "History" ? "part wide" : "part" },
        h("header", {}, h("h2", {}, title), tool),
        content,
      );
    this.element.append(
      h(
        "header",
        {},
        h("a", { class: "back", href: "#/debug" }, "← All debug sessions"),
        h("div", { class: "heading" }, this.#heading, this.#mark),
      ),
      this.#position,
      this.#bar.element,
      h(
        "div",
        { class: "parts" },
        part("Threads", this.#stop.frames, this.#stops),
        part("Variables", this.#stop.variables),
        part("Breakpoints", this.#breakpoints),
        part("Events", this.#events),
        part("History", this.#history.element),
      ),
      this.#facts,
    );
    void this.#read();
    void this.#history.follow(this.#ended.signal);
  }

  end(): void {
    this.#ended.abort();
    clearTimeout(this.#timer);
  }

  onReset(): void {
    this.#readIn(0);
  }

  onChanges(changes: readonly ChangeJson[]): void {
    if (changes.some(({ entity, entityId }) => entity === "debug_session" && entityId === this.#id))
      this.#readIn(settleMs);
  }

  #readIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#read(), ms);
  }

  async #read(): Promise<void> {
    const { api, fail } = this.#surroundings;
    try {
      const stop = this.#epoch === undefined ? {} : { stopEpoch: this.#epoch };
      const input = { debugSessionId: this.#id, events: 100, ...stop };
      const view = await api.call<DebugViewJson>("debug.get", input, this.#ended.signal);
      this.#view = view;
      const { state } = view.debugSession;
      const hasEnded = state === "terminated" || state === "error";
      if (hasEnded && !this.#isChosen && this.#epoch === undefined && view.stopEpochs.length > 0) {
        this.#epoch = Math.max(...view.stopEpochs);
        this.#readIn(0);
      }
      this.#show(view);
      const isMissing = this.#epoch === undefined && view.threads.every(({ at }) => at === null) && state === "stopped";
      this.#tries = isMissing ? this.#tries + 1 : 0;
      if (isMissing && this.#tries < triesMax) this.#readIn(settleMs * this.#tries);
      const { closedAt, adapterRun, nextPosition } = view.debugSession;
      if (closedAt === null && adapterRun !== this.#followedRun) void this.#follow(nextPosition - 1, adapterRun);
    } catch (error) {
      if (this.#ended.signal.aborted) return;
      if (this.#view === undefined) this.#position.textContent = (error as Error).message;
      else fail(error);
    }
  }

  async #follow(from: number, adapterRun: number): Promise<void> {
    if (this.#isFollowing) return;
    this.#isFollowing = true;
    let after = Math.max(0, from);
    const { api } = this.#surroundings;
    const inputOf = () => ({ debugSessionId: this.#id, after });
    try {
      for await (const { position } of api.follow<DebugEventJson>("debug.follow", inputOf, this.#ended.signal)) {
        after = position;
        this.#readIn(settleMs);
      }
      this.#followedRun = adapterRun;
    } catch (error) {
      if (!this.#ended.signal.aborted) this.#surroundings.fail(error);
    } finally {
      this.#isFollowing = false;
    }
    // The end of the debug session has no event of its own.
    if (!this.#ended.signal.aborted) this.#readIn(0);
  }

  #show(view: DebugViewJson): void {
    const { debugSession: row, threads, runningThreads, breakpoints, events, lastOutput, stopEpochs } = view;
    this.#showStops(stopEpochs);
    this.title = printable(`Debug session ${row.name}`);
    document.title = `${this.title} – debug-server-db`;
    this.#heading.textContent = this.title;
    this.#mark.replaceChildren(stateMark(row.state));
    this.#stop.show(threads, runningThreads, row.stopThreadId, row.staleFrameIds ?? []);
    this.#showPosition(row, threads);
    this.#offer(row, threads);
    this.#breakpoints.replaceChildren(
      breakpoints.length === 0
        ? h("p", { class: "empty" }, "No breakpoints")
        : h(
            "ul",
            { class: "rows breakpoints" },
            ...breakpoints.map((each) =>
              this.#breakpoint(each, new Set(threads.flatMap(({ hitBreakpointIds }) => hitBreakpointIds ?? []))),
            ),
          ),
    );
    const output =
      lastOutput === null
        ? []
        : [lastOutput].filter(({ position }) => !events.some((each) => each.position === position));
    this.#events.replaceChildren(
      h(
        "ol",
        { class: "rows events", tabindex: 0, "aria-label": "Events, the last one first" },
        ...[...output, ...events].reverse().map(eventItem),
      ),
    );
    this.#facts.replaceChildren(
      factList([
        ["Adapter", row.adapter],
        ["Request", row.request],
        ["Session", rowLink("sessions", row.sessionId, `…${shortId(row.sessionId)}`)],
        ["Command", rowLink("commands", row.commandId, `…${row.commandId?.slice(-8)}`)],
        ["Stops so far", Math.ceil(row.stopEpoch / 2)],
        ["Process", processOf(row.process)],
        ["Exit code", row.exitCode],
        ["Because", row.endReason],
        ["Created", ago(row.createdAt)],
        ["Ended", ago(row.endedAt)],
        ["Id", idText(row.id)],
      ]),
      ...[jsonDetails("Capabilities", row.capabilities)].filter((node) => node !== undefined),
    );
  }

  #showPosition(row: DebugViewJson["debugSession"], threads: DebugViewJson["threads"]): void {
    const stopped = threads.find(({ threadId }) => threadId === row.stopThreadId) ?? threads[0];
    const place = placeOf(stopped?.frames[0]);
    const isNow = row.state === "stopped" && (this.#epoch === undefined || this.#epoch === row.stopEpoch);
    const reason = [row.stopReason, row.stopDescription].filter((text) => text !== null).join(": ");
    const what = isNow
      ? `Stopped${reason === "" ? "" : ` by ${printable(reason)}`}`
      : this.#epoch !== undefined
        ? "An earlier stop"
        : row.state === "running"
          ? "Running"
          : "";
    this.#position.replaceChildren(what, ...(place === "" ? [] : [" at ", h("code", {}, place)]));
  }

  /** Offers what can be asked now. An earlier stop is only looked at. */
  #offer(row: DebugViewJson["debugSession"], threads: DebugViewJson["threads"]): void {
    const isNow = this.#epoch === undefined;
    this.#bar.show(row, () => {
      const chosen = isNow ? this.#stop.chosen : undefined;
      const threadId = chosen?.threadId ?? row.stopThreadId ?? threads[0]?.threadId;
      const thread = isNow ? threads.find((each) => each.threadId === threadId) : undefined;
      return { threadId, frameId: chosen?.frame.id, stopEpoch: thread?.stopEpoch ?? row.stopEpoch };
    });
  }

  /** Offers the stops whose frames are stored. */
  #showStops(epochs: readonly number[]): void {
    const options = [["", "Now"], ...epochs.map((epoch, index) => [String(epoch), `Stop ${index + 1}`])];
    const offered = JSON.stringify(options);
    if (this.#stops.dataset.offered !== offered)
      this.#stops.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
    this.#stops.dataset.offered = offered;
    this.#stops.value = String(this.#epoch ?? "");
    this.#stops.hidden = epochs.length === 0;
  }

  #choose(): void {
    this.#epoch = this.#stops.value === "" ? undefined : Number(this.#stops.value);
    this.#isChosen = true;
    this.#readIn(0);
  }

  #breakpoint(row: DebugViewJson["breakpoints"][number], hitIds: ReadonlySet<string>): HTMLElement {
    const line = row.bound?.line ?? row.line;
    const requested = row.requested as { name?: string; filterId?: string; condition?: string; logMessage?: string };
    const what =
      row.sourcePath === null ? (requested.name ?? requested.filterId ?? row.kind) : `${row.sourcePath}:${line ?? "?"}`;
    const extra = [
      row.kind === "source" ? "" : row.kind,
      row.origin === "adapter" ? "by the debugger" : "",
      requested.condition === undefined ? "" : `if ${requested.condition}`,
      requested.logMessage === undefined ? "" : `log ${requested.logMessage}`,
      `hit ${row.hitCount} ${row.hitCount === 1 ? "time" : "times"}`,
      row.bound?.message ?? "",
    ].filter((text) => text !== "");
    return h(
      "li",
      { class: hitIds.has(row.id) ? "is-hit" : undefined },
      h("span", {
        class: row.verified ? "dot dot-good" : "dot",
        role: "img",
        "aria-label": row.verified ? "bound" : "not bound",
      }),
      h("code", {}, what),
      h("small", {}, extra.join(" · ")),
    );
  }
}

/** Returns the name and the id of the process that is debugged. */
function processOf(process: DebugViewJson["debugSession"]["process"]): string | null {
  const { name, systemProcessId: id } = process ?? {};
  const parts = [typeof name === "string" ? name : "", typeof id === "number" ? String(id) : ""];
  return parts.filter((part) => part !== "").join(" · ") || null;
}

function eventItem({ event, at, body, position }: DebugEventJson): HTMLElement {
  const output = event === "output" && typeof body?.output === "string" ? body.output : undefined;
  const text = output ?? (body === null ? "" : JSON.stringify(body));
  return h("li", { "data-position": position }, h("b", {}, event), h("code", {}, text), h("small", {}, ago(at)));
}
