// A stop of a debugger: the frames of its threads, and the variables of the frame that is chosen.
import { h } from "./dom.ts";
import type { DebugViewJson, FrameJson, VariableJson } from "./json.ts";

type Threads = DebugViewJson["threads"];

export class StopView {
  readonly frames = h("div", {});
  readonly variables = h("div", {});
  /** The frame whose variables are shown, by its thread and place. */
  #chosen = "";
  #shown = "";

  /** The frame that is chosen, and its thread. */
  chosen: { readonly threadId: number; readonly frame: FrameJson } | undefined;

  /** Shows the threads of a stop. The frame that a person has chosen stays while the stop is the same. */
  show(threads: Threads, stopThreadId: number | null): void {
    const stop = JSON.stringify(threads);
    if (stop === this.#shown) return;
    this.#shown = stop;
    this.#chosen = "";
    this.#showFrames(threads, stopThreadId);
  }

  #showFrames(threads: Threads, stopThreadId: number | null): void {
    const all = threads.flatMap(({ threadId, frames }) =>
      frames.map((frame, index) => ({ key: `${threadId} ${index}`, threadId, frame })),
    );
    const stopped = all.find(({ key }) => key === `${stopThreadId} 0`) ?? all[0];
    const chosen = all.find(({ key }) => key === this.#chosen) ?? stopped;
    this.chosen = chosen;
    const hasFocus = this.frames.contains(document.activeElement);
    this.frames.replaceChildren(
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
    if (hasFocus) this.frames.querySelector<HTMLElement>('[aria-pressed="true"]')?.focus();
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
