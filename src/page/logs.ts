// Follows logs into a view: that of one attempt, and that of a session with the starts and ends of its commands.
import { bytesOf } from "./bytes.ts";
import { commandText, duration, shortId, size } from "./dom.ts";
import type { ChunkJson, CommandJson, Page, SessionLogItemJson } from "./json.ts";
import type { LogText } from "./logText.ts";
import { LogView } from "./logView.ts";
import type { Surroundings } from "./view.ts";

export interface FollowedLog {
  readonly element: HTMLElement;
  end(): void;
}

/** Follows the log of an attempt, or of the latest one. */
export function commandLog(commandId: string, attempt: number | undefined, { api }: Surroundings): FollowedLog {
  let position: object = attempt === undefined ? {} : { attempt };
  const until = attempt === undefined ? "ended" : "sealed";
  let shown = attempt ?? 1;
  return follow(`command-${shortId(commandId)}`, async (text, signal, changed) => {
    const chunks = api.follow<ChunkJson>("logs.follow", () => ({ commandId, until, ...position }), signal);
    for await (const { attempt: own, offset, droppedBytes, stream, data } of chunks) {
      if (own !== shown) text.note(`attempt ${own}`, "phase");
      shown = own;
      noteDropped(text, droppedBytes);
      const bytes = bytesOf(data);
      text.append(bytes, stream);
      position = { attempt: own, offset: offset + bytes.length };
      if (!changed()) return;
    }
  });
}

/** Follows the log of a session. */
export function sessionLog(sessionId: string, surroundings: Surroundings): FollowedLog {
  const { api } = surroundings;
  let after: string | undefined;
  return follow(`session-${shortId(sessionId)}`, async (text, signal, changed) => {
    const titles = new Map<string, string>();
    const readTitles = async () => {
      const { items } = await api.call<Page<CommandJson>>("commands.list", { sessionId, limit: 500 }, signal);
      for (const { id, argv } of items) titles.set(id, commandText(argv));
    };
    const inputOf = () => ({ sessionId, ...(after === undefined ? {} : { after }) });
    const startedAt = new Map<string, number>();
    for await (const item of api.follow<SessionLogItemJson>("logs.followSession", inputOf, signal)) {
      if (item.kind === "started" && !titles.has(item.commandId) && api.may("commands:read"))
        await readTitles().catch(() => undefined);
      if (item.kind === "started") startedAt.set(`${item.commandId} ${item.attempt}`, Date.parse(item.at));
      show(text, item, titles, startedAt, surroundings);
      after = item.position;
      if (!changed()) return;
    }
  });
}

function show(
  text: LogText,
  item: SessionLogItemJson,
  titles: ReadonlyMap<string, string>,
  startedAt: ReadonlyMap<string, number>,
  { names }: Surroundings,
): void {
  const titleOf = (id: string) => titles.get(id) ?? `command ${shortId(id)}`;
  const again = (attempt: number) => (attempt > 1 ? `, attempt ${attempt}` : "");
  if (item.kind === "output") {
    noteDropped(text, item.droppedBytes);
    text.append(bytesOf(item.data), item.stream, `${item.commandId} ${item.attempt} ${item.stream}`);
  } else if (item.kind === "started") {
    text.note(`▶ ${titleOf(item.commandId)}${again(item.attempt)} on ${names.of(item.runnerId)}`, "phase");
  } else if (item.kind === "ended") {
    const { commandId, attempt, outcome, exitCode, signal, logState, at } = item;
    const started = startedAt.get(`${commandId} ${attempt}`);
    const how = signal !== null ? `, ${signal}` : exitCode !== null ? `, exit code ${exitCode}` : "";
    const took = started === undefined ? "" : `, ${duration(Math.max(0, Date.parse(at) - started))}`;
    const pruned = logState === "pruned" ? "; its output was removed" : "";
    text.note(`■ ${titleOf(commandId)}: ${outcome.replaceAll("_", " ")}${how}${took}${pruned}`, "note");
  } else {
    const said = [item.phase === null ? "" : `● ${item.phase}`, item.text ?? ""].filter((part) => part !== "");
    text.note(said.join(": "), item.phase === null ? "note" : "phase");
  }
}

function noteDropped(text: LogText, droppedBytes: number): void {
  if (droppedBytes > 0) text.note(`${size(droppedBytes)} were left out here: the log is over its limit`, "note");
}

/** Runs a function that reads a log, and shows what it has read. The function ends when `changed` returns false. */
function follow(
  name: string,
  read: (text: LogText, signal: AbortSignal, changed: () => boolean) => Promise<void>,
): FollowedLog {
  const view = new LogView(name);
  const ended = new AbortController();
  let frame = 0;
  const draw = () => {
    frame = 0;
    view.update();
  };
  const changed = () => {
    if (frame === 0) frame = requestAnimationFrame(draw);
    return !view.text.isFull;
  };
  const run = async () => {
    try {
      await read(view.text, ended.signal, changed);
      view.text.close();
      view.setState(view.text.isFull ? "the rest is left out: a tab holds 256 MiB" : "complete");
    } catch (error) {
      view.setState((error as Error).message);
    }
    if (!ended.signal.aborted) view.update();
  };
  void run();
  return {
    element: view.element,
    end() {
      ended.abort();
      cancelAnimationFrame(frame);
      view.end();
    },
  };
}
