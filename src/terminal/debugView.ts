// Debug sessions as text: state, threads with their frames and variables, breakpoints, last events and output.
import { StoreError } from "../errors.ts";
import type { DebugBreakpoint, DebugSession, DebugView, StoppedThread } from "../model/debug.ts";
import type { StackFrame } from "../model/debugProtocol.ts";
import type { DebugState } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import type { Store } from "../storeTypes.ts";
import { oneLine } from "./controls.ts";
import type { Screen } from "./output.ts";
import { formatTable, paint, type Style } from "./table.ts";

interface ViewOptions {
  /** The number of last events to read. */
  readonly events: number;
  /** Reads what was recorded at this earlier stop. */
  readonly stopEpoch?: number | undefined;
}

/** Reads one debug session, or all debug sessions of a session, whichever has this id. Fails with `not_found`. */
export async function readDebugViews(
  store: Pick<Store, "debug" | "sessions">,
  id: string,
  { events, stopEpoch }: ViewOptions,
): Promise<DebugView[]> {
  const options = { events, ...present({ stopEpoch }) };
  const view = await store.debug.get({ debugSessionId: id, ...options }).catch((error: unknown) => {
    if (error instanceof StoreError && error.code === "not_found") return undefined;
    throw error;
  });
  if (view !== undefined) return [view];
  await store.sessions.get({ sessionId: id });
  const views: DebugView[] = [];
  for await (const { id: debugSessionId } of store.debug.all({ sessionId: id }))
    views.push(await store.debug.get({ debugSessionId, ...options }));
  return views;
}

export function renderDebugViews(views: readonly DebugView[], screen: Screen): string {
  if (views.length === 0) return "The session has no debug sessions.\n";
  return views.map((view) => renderView(view, screen)).join("\n");
}

function renderView(view: DebugView, screen: Screen): string {
  const { debugSession, breakpoints, threads, runningThreads, stopEpochs, events, lastOutput } = view;
  const title = (text: string) => paint("dim", text, screen);
  const parts = [formatHead(debugSession, screen)];
  if (threads.length > 0) parts.push(`${title("threads")}\n`);
  for (const thread of threads) parts.push(formatThread(thread, debugSession, screen));
  const names = runningThreads
    .slice(0, threadsShown)
    .map(({ threadId, name }) => `${threadId} ${oneLine(name, 60)}`.trim());
  const more = runningThreads.length - names.length;
  if (names.length > 0)
    parts.push(`${title("running: ")}${[...names, ...(more > 0 ? [`and ${more} more`] : [])].join(", ")}\n`);
  if (breakpoints.length > 0) parts.push(`${title("breakpoints")}\n${indent(breakpointTable(view, screen))}`);
  if (stopEpochs.length > 0) parts.push(`${title("stops: ")}${stopEpochs.join(", ")}\n`);
  if (events.length > 0) parts.push(`${title("events")}\n${indent(eventTable(view, screen))}`);
  if (lastOutput !== null)
    parts.push(`${title("last output: ")}${oneLine(String(lastOutput.body?.output ?? ""), 200)}\n`);
  return parts.join("");
}

const stateStyles: Readonly<Record<DebugState, Style>> = {
  initializing: "dim",
  configuring: "dim",
  running: "green",
  stopped: "yellow",
  terminated: "dim",
  error: "red",
};

function formatHead(debugSession: DebugSession, screen: Screen): string {
  const { id, name, adapter, adapterRun, request, state, exitCode } = debugSession;
  const { stopReason, stopDescription, stopEpoch, stopThreadId, endReason } = debugSession;
  const reasons = [stopReason, stopDescription, endReason].filter((reason) => reason !== null);
  const facts = [
    paint(stateStyles[state], state, screen),
    ...reasons.map((reason) => oneLine(reason, 100)),
    ...(stopThreadId === null ? [] : [`thread ${stopThreadId}`]),
    ...(state === "stopped" ? [`epoch ${stopEpoch}`] : []),
    ...(exitCode === null ? [] : [`exit code ${exitCode}`]),
    ...(adapterRun === 1 ? [] : [`adapter run ${adapterRun}`]),
  ];
  const head = paint("bold", oneLine(name, 60), screen);
  return `${head} (${oneLine(adapter, 40)}, ${request}, ${id}): ${facts.join(", ")}\n`;
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, "  ");
}

/** The number of running threads that are printed. */
const threadsShown = 20;
/** The number of frames of a thread that are printed, from the innermost. */
const framesShown = 10;

function formatThread(
  { threadId, name, stopReason, staleAreas, frames, omittedFrames }: StoppedThread,
  { stopThreadId }: DebugSession,
  screen: Screen,
): string {
  const shown = frames.slice(0, framesShown);
  const omitted = frames.length - shown.length + omittedFrames;
  const mark = threadId === stopThreadId ? "*" : " ";
  const columns = [
    { title: "", cells: shown.map(({ name }) => oneLine(name, 60)) },
    { title: "", cells: shown.map(formatPlace) },
  ];
  // Without the head of the table: its columns have no titles.
  const table = shown.length === 0 ? "" : formatTable(columns, screen).split("\n").slice(1).join("\n");
  const [top] = frames;
  const variables = top === undefined ? "" : formatScopes(top);
  const rest = omitted > 0 ? `    and ${omitted} more\n` : "";
  const facts = [stopReason, staleAreas === null ? null : `${staleAreas.join(", ")} out of date`];
  const known = facts.filter((fact) => fact !== null).map((fact) => oneLine(fact, 60));
  const head = `${mark} ${threadId} ${oneLine(name, 60)}${known.length === 0 ? "" : ` (${known.join("; ")})`}`;
  return `${head}\n${indent(indent(table))}${rest}${indent(indent(variables))}`;
}

function formatPlace({ source, line }: StackFrame): string {
  return `${shortPath(source?.path ?? source?.name ?? "?")}:${line}`;
}

/** Cuts the beginning of a long path, and keeps the more telling end. */
function shortPath(path: string): string {
  const lengthMax = 50;
  const whole = oneLine(path, 4_096);
  return whole.length <= lengthMax ? whole : `…${whole.slice(1 - lengthMax)}`;
}

const variablesShown = 20;

function formatScopes({ scopes = [] }: StackFrame): string {
  const lines = scopes.flatMap(({ name, variables = [], omittedVariables = 0 }) => {
    if (variables.length === 0) return [];
    const shown = variables
      .slice(0, variablesShown)
      .map((variable) => `  ${oneLine(`${variable.name} = ${variable.value}`, 100)}`);
    const omitted = variables.length - shown.length + omittedVariables;
    return [oneLine(name, 60), ...shown, ...(omitted > 0 ? [`  and ${omitted} more`] : [])];
  });
  return lines.map((line) => `${line}\n`).join("");
}

function breakpointTable({ breakpoints, threads }: DebugView, screen: Screen): string {
  const hit = threads.flatMap(({ hitBreakpointIds }) => hitBreakpointIds ?? []);
  return formatTable(
    [
      { title: "", cells: breakpoints.map(({ id }) => (hit.includes(id) ? "*" : "")) },
      {
        title: "kind",
        cells: breakpoints.map(({ kind, origin }) => (origin === "client" ? kind : `${kind}, ${origin}`)),
      },
      { title: "at", cells: breakpoints.map((breakpoint) => oneLine(describePlace(breakpoint), 100)) },
      { title: "when", cells: breakpoints.map((breakpoint) => oneLine(describeCondition(breakpoint), 60)) },
      { title: "bound", cells: breakpoints.map((breakpoint) => oneLine(describeBinding(breakpoint), 60)) },
      { title: "hits", align: "right", cells: breakpoints.map(({ hitCount }) => String(hitCount)) },
    ],
    screen,
  );
}

function describePlace({ requested, sourcePath }: DebugBreakpoint): string {
  if ("line" in requested) return `${shortPath(sourcePath ?? "")}:${requested.line}`;
  if ("name" in requested) return requested.name;
  if ("dataId" in requested) return requested.dataId;
  if ("instructionReference" in requested)
    return `${requested.instructionReference}${requested.offset === undefined ? "" : `+${requested.offset}`}`;
  return "filterId" in requested
    ? requested.filterId
    : `${requested.breakMode} ${requested.path?.map(({ names }) => names.join("|")).join("/") ?? ""}`;
}

function describeCondition({ requested }: DebugBreakpoint): string {
  const { condition, hitCondition, logMessage } = requested as {
    condition?: string;
    hitCondition?: string;
    logMessage?: string;
  };
  const parts = [
    condition,
    hitCondition === undefined ? undefined : `hits ${hitCondition}`,
    logMessage === undefined ? undefined : `log "${logMessage}"`,
  ];
  return parts.filter((part) => part !== undefined).join(", ");
}

function describeBinding({ line, bound, verified }: DebugBreakpoint): string {
  if (bound === null) return "not reported yet";
  if (!verified) return bound.message ?? bound.reason ?? "not verified";
  return bound.line === undefined || line === null || bound.line === line ? "verified" : `moved to ${bound.line}`;
}

function eventTable({ events }: DebugView, screen: Screen): string {
  return formatTable(
    [
      { title: "", align: "right", cells: events.map(({ position }) => String(position)) },
      { title: "at", optional: true, cells: events.map(({ at }) => at.toISOString().slice(11, 23)) },
      { title: "event", cells: events.map(({ event }) => oneLine(event, 40)) },
      {
        title: "",
        cells: events.map(({ body }) =>
          oneLine(String(body?.reason ?? body?.output ?? body?.exitCode ?? body?.name ?? ""), 80),
        ),
      },
    ],
    screen,
  );
}
