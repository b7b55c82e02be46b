// A stop of a debugger: the frames of its threads, and the variables of the frame that is chosen.
import { h } from "./dom.ts";
import type { DebugViewJson, FrameJson, VariableJson } from "./json.ts";

type Threads = DebugViewJson["threads"];
type Thread = Threads[number];
type RunningThreads = DebugViewJson["runningThreads"];

export class StopView {
  readonly frames = h("div", {});
  readonly variables = h("div", {});
  /** The frame whose variables are shown, by its thread and place. */
  #chosen = "";
  #shown = "";

  /** The frame that is chosen, and its thread. */
  chosen: { readonly threadId: number; readonly stopEpoch: number; readonly frame: FrameJson } | undefined;

  /**
   * Shows the threads: the stopped ones, each with its frames, that in focus first, and then those that run. The frame that a
   * person has chosen stays while its thread is at the same stop.
   */
  show(threads: Threads, running: RunningThreads, stopThreadId: number | null, staleFrames: readonly number[]): void {
    const shown = JSON.stringify([threads, running, stopThreadId, staleFrames]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const inFocus = ({ threadId }: Thread) => (threadId === stopThreadId ? 0 : 1);
    this.#showFrames(
      threads.toSorted((a, b) => inFocus(a) - inFocus(b)),
      running,
      new Set(staleFrames),
    );
  }

  #showFrames(threads: Threads, running: RunningThreads, stale: ReadonlySet<number>): void {
    const all = threads.flatMap(({ threadId, stopEpoch, frames }) =>
      frames.map((frame, index) => ({ key: `${threadId} ${stopEpoch} ${index}`, threadId, stopEpoch, frame })),
    );
    const chosen = all.find(({ key }) => key === this.#chosen) ?? all[0];
    this.chosen = chosen;
    const focused = this.frames.contains(document.activeElement)
      ? document.activeElement?.getAttribute("data-key")
      : "";
    this.frames.replaceChildren(
      ...(threads.length === 0 ? [h("p", { class: "empty" }, "No frames: it is not stopped")] : []),
      ...threads.map((thread) =>
        h(
          "div",
          { class: "thread" },
          h("h3", {}, nameOf(thread), h("small", {}, ` ${causeOf(thread)}`)),
          h(
            "ol",
            { class: "rows" },
            ...thread.frames.map((frame, index) => {
              const key = `${thread.threadId} ${thread.stopEpoch} ${index}`;
              const choose = () => {
                this.#chosen = key;
                this.#showFrames(threads, running, stale);
              };
              return h(
                "li",
                {},
                h(
                  "button",
                  {
                    ...{ type: "button", "aria-pressed": String(chosen?.key === key) },
                    ...{ "data-key": key, onclick: choose },
                  },
                  h("b", {}, frame.name),
                  h("code", {}, placeOf(frame)),
                  stale.has(frame.id) ? h("small", {}, "out of date") : undefined,
                ),
              );
            }),
          ),
          thread.omittedFrames > 0
            ? h("p", { class: "hint" }, `${thread.omittedFrames} more frames were left out`)
            : undefined,
        ),
      ),
      ...(running.length === 0
        ? []
        : [
            h(
              "div",
              { class: "thread" },
              h("h3", {}, "Running"),
              h("ul", { class: "rows" }, ...running.map((thread) => h("li", {}, nameOf(thread)))),
            ),
          ]),
    );
    if (focused)
      [...this.frames.querySelectorAll<HTMLElement>("button")].find(({ dataset }) => dataset.key === focused)?.focus();
    this.#showVariables(chosen?.frame);
  }

  #showVariables(frame: FrameJson | undefined): void {
    const scopes = frame?.scopes ?? [];
    this.variables.replaceChildren(
      ...(scopes.length === 0
        ? [h("p", { class: "empty" }, frame === undefined ? "No variables" : "None were stored for this frame")]
        : []),
      ...scopes.map(({ name, variables = [], omittedVariables = 0 }) =>
        h(
          "div",
          { class: "scope" },
          h("h3", {}, name),
          variables.length === 0
            ? h("p", { class: "hint" }, "Not read")
            : h("ul", { class: "variables" }, ...variables.map(variableItem)),
          omittedVariables > 0 ? h("p", { class: "hint" }, `${omittedVariables} more were left out`) : undefined,
        ),
      ),
    );
  }
}

function nameOf({ threadId, name }: { readonly threadId: number; readonly name: string }): string {
  return name === "" ? `Thread ${threadId}` : name;
}

/** Returns why a thread is stopped, as far as it is known, and that its data are out of date. */
function causeOf({ stopReason, stopDescription, staleAreas, at }: Thread): string {
  const reason = [stopReason, stopDescription].filter((text) => text !== null).join(": ");
  const stale = staleAreas === null ? "" : `${staleAreas.join(", ")} out of date`;
  return [reason, stale, at === null ? "frames not read yet" : ""].filter((text) => text !== "").join(" · ");
}

/** Returns the source position of a frame, if it has a source. */
export function placeOf(frame: FrameJson | undefined): string {
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
