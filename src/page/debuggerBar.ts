// The bar with which a person asks a debugger to go on, to step, to pause, and to evaluate. Each is one click.
import { h, printable } from "./dom.ts";
import type { DebugRequestJson, DebugSessionJson } from "./json.ts";
import type { Surroundings } from "./view.ts";

/** The buttons, by the requests of the protocol. All but the last need a program that is stopped. */
const buttons = [
  ["continue", "Continue"],
  ["next", "Step over"],
  ["stepIn", "Step in"],
  ["stepOut", "Step out"],
  ["pause", "Pause"],
] as const;

/** The longest time for an answer, in milliseconds. */
const timeoutMs = 20_000;

/** The subject of a request: a thread at its stop, and the frame in which to evaluate, if one is shown. */
interface Target {
  readonly threadId: number | undefined;
  readonly stopEpoch: number;
  readonly frameId: number | undefined;
}

export class DebuggerBar {
  readonly element = h("section", { class: "debugger", "aria-label": "Debugger", hidden: true });
  readonly #surroundings: Surroundings;
  readonly #moves = new Map<string, HTMLButtonElement>();
  readonly #expression = h("input", {
    name: "expression",
    placeholder: "Expression",
    "aria-label": "Expression",
    autocomplete: "off",
    spellcheck: "false",
  });
  readonly #answer = h("output", { class: "answer" });
  readonly #signal: AbortSignal;
  #row: DebugSessionJson | undefined;
  #target: () => Target = () => ({ threadId: undefined, stopEpoch: 0, frameId: undefined });

  constructor(surroundings: Surroundings, signal: AbortSignal) {
    this.#surroundings = surroundings;
    this.#signal = signal;
    for (const [command, label] of buttons)
      this.#moves.set(command, h("button", { type: "button", onclick: () => void this.#move(command, label) }, label));
    const evaluate = h(
      "form",
      {
        class: "evaluate",
        onsubmit: (event) => {
          event.preventDefault();
          void this.#evaluate();
        },
      },
      this.#expression,
      h("button", { type: "submit" }, "Evaluate"),
    );
    this.element.append(h("div", { class: "moves" }, ...this.#moves.values()), evaluate, this.#answer);
  }

  /** Offers what can be asked now, if the token allows it. `target` is asked when a person asks something. */
  show(row: DebugSessionJson, target: () => Target): void {
    this.#row = row;
    this.#target = target;
    const { state, endedAt } = row;
    this.element.hidden = endedAt !== null || !this.#surroundings.api.may("debug:write");
    // A button that is off keeps the focus, so that Enter steps again at the next stop.
    for (const [command, button] of this.#moves)
      button.setAttribute("aria-disabled", String((command === "pause" ? "running" : "stopped") !== state));
  }

  async #move(command: string, label: string): Promise<void> {
    if (this.#moves.get(command)?.getAttribute("aria-disabled") === "true") return;
    const { threadId, stopEpoch } = this.#target();
    const args = threadId === undefined ? {} : { threadId };
    const request = await this.#ask(command, args, command === "pause" ? {} : { stopEpoch, ...args });
    if (request?.success === false) this.#surroundings.fail(new Error(`${label}: ${request.message ?? "refused"}`));
  }

  async #evaluate(): Promise<void> {
    const expression = this.#expression.value.trim();
    if (expression === "") return this.#expression.focus();
    const { threadId, stopEpoch, frameId } = this.#target();
    const isStopped = this.#row?.state === "stopped" && frameId !== undefined;
    this.#answer.replaceChildren("…");
    const args = { expression, context: "repl", ...(isStopped ? { frameId } : {}) };
    const request = await this.#ask("evaluate", args, isStopped ? { stopEpoch, threadId } : {});
    if (request === undefined) return this.#answer.replaceChildren();
    const { result } = (request.body ?? {}) as { readonly result?: unknown };
    this.#answer.classList.toggle("is-refused", request.success === false);
    const text = request.success === false ? (request.message ?? "refused") : String(result ?? "");
    this.#answer.replaceChildren(h("code", {}, `${expression} → `), printable(text));
    this.#expression.select();
  }

  /** Asks, and waits for the answer. Returns undefined when there is none, and shows why. */
  async #ask(command: string, args: object, stop: object): Promise<DebugRequestJson | undefined> {
    const { api, fail } = this.#surroundings;
    const debugSessionId = this.#row?.id;
    try {
      const input = { debugSessionId, command, arguments: args, timeoutMs, ...stop };
      return await api.wait<DebugRequestJson>("debug.request", input, this.#signal);
    } catch (error) {
      if (!this.#signal.aborted) fail(error);
      return undefined;
    }
  }
}
