// A debug session as it is: where it has stopped, its frames and variables, its breakpoints and its last events.
import { ago, h, printable, shortId, stateMark } from "./dom.ts";
import { factList, idText, jsonDetails, rowLink } from "./facts.ts";
import type { ChangeJson, DebugEventJson, DebugViewJson, FrameJson, VariableJson } from "./json.ts";
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
  readonly #frames = h("div", {});
  readonly #variables = h("div", {});
  readonly #breakpoints = h("div", {});
  readonly #events = h("div", {});
  readonly #ended = new AbortController();
  #view: DebugViewJson | undefined;
  /** The frame whose variables are shown, by its thread and place. */
  #chosen = "";
  #shownStop = "";
  #isFollowing = false;
  #timer = 0;
  #tries = 0;

  constructor(id: string, surroundings: Surroundings) {
    this.#id = id;
    this.#surroundings = surroundings;
    const part = (title: string, content: HTMLElement) => h("section", { class: "part" }, h("h2", {}, title), content);
    this.element.append(
      h(
        "header",
        {},
        h("a", { class: "back", href: "#/debug" }, "← All debug sessions"),
        h("div", { class: "heading" }, this.#heading, this.#mark),
      ),
      this.#position,
      h(
        "div",
        { class: "parts" },
        part("Frames", this.#frames),
        part("Variables", this.#variables),
        part("Breakpoints", this.#breakpoints),
        part("Events", this.#events),
      ),
      this.#facts,
    );
    void this.#read();
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
      const input = { debugSessionId: this.#id, events: 100 };
      const view = await api.call<DebugViewJson>("debug.get", input, this.#ended.signal);
      this.#view = view;
      this.#show(view);
      const isMissing = view.debugSession.state === "stopped" && view.threads.length === 0;
      this.#tries = isMissing ? this.#tries + 1 : 0;
      if (isMissing && this.#tries < triesMax) this.#readIn(settleMs * this.#tries);
      const { state } = view.debugSession;
      if (state !== "terminated" && state !== "error") void this.#follow(view.debugSession.nextPosition - 1);
    } catch (error) {
      if (this.#ended.signal.aborted) return;
      if (this.#view === undefined) this.#position.textContent = (error as Error).message;
      else fail(error);
    }
  }

  async #follow(from: number): Promise<void> {
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
    } catch (error) {
      if (!this.#ended.signal.aborted) this.#surroundings.fail(error);
    } finally {
      this.#isFollowing = false;
    }
    // The end of the debug session has no event of its own.
    if (!this.#ended.signal.aborted) this.#readIn(0);
  }

  #show({ debugSession: row, threads, breakpoints, events, lastOutput }: DebugViewJson): void {
    this.title = `Debug session ${row.name}`;
    document.title = `${this.title} – debug-server-db`;
    this.#heading.textContent = printable(this.title);
    this.#mark.replaceChildren(stateMark(row.state));
    // What is unfolded stays so while the stop is the same.
    const stop = JSON.stringify([row.stopEpoch, threads]);
    if (stop !== this.#shownStop) {
      this.#chosen = "";
      this.#showFrames(threads, row.stopThreadId);
    }
    this.#shownStop = stop;
    const reason = [row.stopReason, row.stopDescription].filter((text) => text !== null).join(": ");
    const place = placeOf(
      threads.find(({ threadId }) => threadId === row.stopThreadId)?.frames[0] ?? threads[0]?.frames[0],
    );
    this.#position.replaceChildren(
      ...(row.state === "stopped"
        ? ["Stopped", reason === "" ? "" : ` by ${printable(reason)}`, place === "" ? "" : " at ", h("code", {}, place)]
        : [row.state === "running" ? "Running" : ""]),
    );
    this.#breakpoints.replaceChildren(
      breakpoints.length === 0
        ? h("p", { class: "empty" }, "No breakpoints")
        : h("ul", { class: "rows" }, ...breakpoints.map((each) => this.#breakpoint(each, row.hitBreakpointIds ?? []))),
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
        ["Exit code", row.exitCode],
        ["Because", row.endReason],
        ["Created", ago(row.createdAt)],
        ["Ended", ago(row.endedAt)],
        ["Id", idText(row.id)],
      ]),
      ...[jsonDetails("Capabilities", row.capabilities)].filter((node) => node !== undefined),
    );
  }

  #showFrames(threads: DebugViewJson["threads"], stopThreadId: number | null): void {
    const all = threads.flatMap(({ threadId, frames }) =>
      frames.map((frame, index) => ({ key: `${threadId} ${index}`, frame })),
    );
    const stopped = all.find(({ key }) => key === `${stopThreadId} 0`) ?? all[0];
    const chosen = all.find(({ key }) => key === this.#chosen) ?? stopped;
    const hasFocus = this.#frames.contains(document.activeElement);
    this.#frames.replaceChildren(
      ...(threads.length === 0 ? [h("p", { class: "empty" }, "No frames: it is not stopped")] : []),
      ...threads.map(({ threadId, name, frames, omittedFrames }) =>
        h(
          "div",
          { class: "thread" },
          h("h3", {}, name === "" ? `Thread ${threadId}` : name),
          h(
            "ol",
            { class: "rows" },
            ...frames.map((frame, index) => {
              const key = `${threadId} ${index}`;
              const choose = () => {
                this.#chosen = key;
                this.#showFrames(threads, stopThreadId);
              };
              const isChosen = chosen?.key === key;
              return h(
                "li",
                {},
                h(
                  "button",
                  { type: "button", "aria-pressed": String(isChosen), onclick: choose },
                  h("b", {}, frame.name),
                  h("code", {}, placeOf(frame)),
                ),
              );
            }),
          ),
          omittedFrames > 0 ? h("p", { class: "hint" }, `${omittedFrames} more frames were left out`) : undefined,
        ),
      ),
    );
    if (hasFocus) this.#frames.querySelector<HTMLElement>('[aria-pressed="true"]')?.focus();
    this.#showVariables(chosen?.frame);
  }

  #showVariables(frame: FrameJson | undefined): void {
    const scopes = frame?.scopes ?? [];
    this.#variables.replaceChildren(
      ...(scopes.length === 0
        ? [h("p", { class: "empty" }, frame === undefined ? "No variables" : "None were stored for this frame")]
        : []),
      ...scopes.map(({ name, variables = [], omittedVariables = 0 }) =>
        h(
          "div",
          { class: "scope" },
          h("h3", {}, name),
          h("ul", { class: "variables" }, ...variables.map(variableItem)),
          omittedVariables > 0 ? h("p", { class: "hint" }, `${omittedVariables} more were left out`) : undefined,
        ),
      ),
    );
  }

  #breakpoint(row: DebugViewJson["breakpoints"][number], hitIds: readonly string[]): HTMLElement {
    const line = row.bound?.line ?? row.line;
    const requested = row.requested as { name?: string; filterId?: string; condition?: string; logMessage?: string };
    const what =
      row.sourcePath === null ? (requested.name ?? requested.filterId ?? row.kind) : `${row.sourcePath}:${line ?? "?"}`;
    const extra = [
      row.kind === "source" ? "" : row.kind,
      requested.condition === undefined ? "" : `if ${requested.condition}`,
      requested.logMessage === undefined ? "" : `log ${requested.logMessage}`,
      `hit ${row.hitCount} ${row.hitCount === 1 ? "time" : "times"}`,
      row.bound?.message ?? "",
    ].filter((text) => text !== "");
    return h(
      "li",
      { class: hitIds.includes(row.id) ? "is-hit" : undefined },
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

function placeOf(frame: FrameJson | undefined): string {
  if (frame === undefined) return "";
  const name = frame.source?.path ?? frame.source?.name;
  return name === undefined ? "" : `${name}:${frame.line}${frame.column > 0 ? `:${frame.column}` : ""}`;
}

function variableItem({
  name,
  value,
  type,
  variables = [],
  valueLength,
  omittedVariables = 0,
}: VariableJson): HTMLElement {
  const own = [
    h("span", { class: "name" }, name),
    h("code", { class: "value" }, value),
    valueLength === undefined ? undefined : h("small", {}, `cut, ${valueLength} characters`),
    type === undefined ? undefined : h("small", {}, type),
  ];
  if (variables.length === 0) return h("li", {}, ...own);
  const more = omittedVariables > 0 ? [h("li", { class: "hint" }, `${omittedVariables} more were left out`)] : [];
  return h(
    "li",
    {},
    h(
      "details",
      {},
      h("summary", {}, ...own),
      h("ul", { class: "variables" }, ...variables.map(variableItem), ...more),
    ),
  );
}

function eventItem({ event, at, body, position }: DebugEventJson): HTMLElement {
  const output = event === "output" && typeof body?.output === "string" ? body.output : undefined;
  const text = output ?? (body === null ? "" : JSON.stringify(body));
  return h("li", { "data-position": position }, h("b", {}, event), h("code", {}, text), h("small", {}, ago(at)));
}
