// The history of a debug session, the last entry first: who has set, asked and answered what. It is live.
import type { Api } from "./api.ts";
import { ago, h } from "./dom.ts";
import type { DebugEntryJson } from "./json.ts";
import { untilVisible, whileVisible } from "./visibility.ts";

/** The entries that are shown. */
const entriesMax = 100;
/** The time for which one call waits for the next entry, and the pause after a failure, in milliseconds. */
const waitMs = 20_000;
const pauseMs = 1_000;

interface EntryPage {
  readonly entries: readonly DebugEntryJson[];
  readonly nextPosition: number;
}

export class DebugHistory {
  readonly element = h("div", {});
  readonly #api: Api;
  readonly #debugSessionId: string;
  #entries: readonly DebugEntryJson[] = [];

  constructor(api: Api, debugSessionId: string) {
    this.#api = api;
    this.#debugSessionId = debugSessionId;
    this.element.append(h("p", { class: "empty" }, "Nothing yet"));
  }

  /** Shows the last entries, and those that come, until the signal fires. */
  async follow(signal: AbortSignal): Promise<void> {
    const debugSessionId = this.#debugSessionId;
    let position: number | undefined;
    while (!signal.aborted) {
      await untilVisible(signal);
      const visible = whileVisible(signal);
      try {
        const input = position === undefined ? { last: entriesMax } : { after: position, waitMs };
        const page = await this.#api.wait<EntryPage>("debug.history", { debugSessionId, ...input }, visible.signal);
        position = page.nextPosition;
        this.#add(page.entries);
      } catch {
        if (signal.aborted) return;
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      } finally {
        visible.end();
      }
    }
  }

  #add(entries: readonly DebugEntryJson[]): void {
    if (entries.length === 0) return;
    this.#entries = [...this.#entries, ...entries].slice(-entriesMax);
    this.element.replaceChildren(
      h(
        "ol",
        { class: "rows events history", tabindex: 0, "aria-label": "History, the last entry first" },
        ...this.#entries.toReversed().map(entryItem),
      ),
    );
  }
}

function entryItem(entry: DebugEntryJson): HTMLElement {
  const { kind, actor, at, position, command, success } = entry;
  const mark = success === false ? h("span", { class: "state state-bad" }, "refused") : undefined;
  return h(
    "li",
    { "data-position": position },
    h("b", {}, command === null ? kind : `${command} ${kind}`),
    mark,
    h("code", {}, contentOf(entry)),
    h("small", {}, actor === null ? "" : `${actor} · `, ago(at)),
  );
}

function contentOf({ arguments: args, body, message, reason, detail }: DebugEntryJson): string {
  if (message !== null) return message;
  if (reason !== null) return reason;
  const { result } = (body ?? {}) as { readonly result?: unknown };
  if (typeof result === "string") return result;
  if (typeof args?.expression === "string") return args.expression;
  const content = args ?? body ?? detail;
  return content === null ? "" : JSON.stringify(content);
}
