// Debug sessions as text: state, threads with their frames and variables, breakpoints, last events and output.
import { StoreError } from "../errors.ts";
import type { DebugBreakpoint, DebugSession, DebugView, StoppedThread } from "../model/debug.ts";
import type { StackFrame } from "../model/debugProtocol.ts";
import { present } from "../present.ts";
import type { Store } from "../storeTypes.ts";
import { oneLine } from "./controls.ts";
import type { Screen } from "./output.ts";
import { formatTable, paint, type Style } from "./table.ts";

interface Wanted {
  readonly events: number;
  readonly stopEpoch?: number | undefined;
}

/** Of one debug session, or of all of a session. Fails not_found. */
export async function readDebugViews(
  store: Pick<Store, "debug" | "sessions">,
  id: string,
  { events, stopEpoch }: Wanted,
): Promise<DebugView[]> {
  const wanted = { events, ...present({ stopEpoch }) };
  const own = await store.debug.get({ debugSessionId: id, ...wanted }).catch((error: unknown) => {
    if (error instanceof StoreError && error.code === "not_found") return undefined;
    throw error;
  });
  if (own !== undefined) return [own];
  await store.sessions.get({ sessionId: id });
  const views: DebugView[] = [];
  for await (const { id: debugSessionId } of store.debug.all({ sessionId: id }))
    views.push(await store.debug.get({ debugSessionId, ...wanted }));
  return views;
}

export function renderDebugViews(views: readonly DebugView[], screen: Screen): string {
  if (views.length === 0) return "The session has no debug sessions.\n";
  return views.map((view) => renderView(view, screen)).join("\n");
}

function renderView(view: DebugView, screen: Screen): string {
  const { debugSession, breakpoints, threads, stopEpochs, events, lastOutput } = view;
  const parts = [
    headOf(debugSession, screen),
    ...(threads.length === 0
      ? []
      : [title("threads", screen), ...threads.map((thread) => threadOf(thread, debugSession, screen))]),
    ...(breakpoints.length === 0 ? [] : [title("breakpoints", screen), indent(breakpointTable(view, screen))]),
    ...(stopEpochs.length === 0 ? [] : [`${title("stops", screen, "")}${stopEpochs.join(", ")}\n`]),
    ...(events.length === 0 ? [] : [title("events", screen), indent(eventTable(view, screen))]),
    ...(lastOutput === null
      ? []
      : [`${title("last output", screen, "")}${oneLine(String(lastOutput.body?.output ?? ""), 200)}\n`]),
  ];
  return parts.join("");
}

const stateStyles: Readonly<Record<DebugSession["state"], Style>> = {
  initializing: "dim",
  configuring: "dim",
  running: "green",
  stopped: "yellow",
  terminated: "dim",
  error: "red",
};

function headOf(debugSession: DebugSession, screen: Screen): string {
  const {
    name,
    adapter,
    request,
    state,
    stopReason,
    stopDescription,
    stopEpoch,
    stopThreadId,
    exitCode,
    endReason,
    adapterRun,
    id,
  } = debugSession;
  const why = [stopReason, stopDescription, endReason]
    .filter((part) => part !== null)
    .map((part) => oneLine(part, 100));
  const facts = [
    paint(stateStyles[state], state, screen),
    ...why,
    ...(stopThreadId === null ? [] : [`thread ${stopThreadId}`]),
    ...(state === "stopped" ? [`epoch ${stopEpoch}`] : []),
    ...(exitCode === null ? [] : [`exit code ${exitCode}`]),
    ...(adapterRun === 1 ? [] : [`run ${adapterRun} of its adapter`]),
  ];
  return `${paint("bold", oneLine(name, 60), screen)} (${oneLine(adapter, 40)}, ${request}, ${id}): ${facts.join(", ")}\n`;
}

function title(text: string, screen: Screen, end = "\n"): string {
  return `${paint("dim", end === "" ? `${text}: ` : text, screen)}${end}`;
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, "  ");
}

/** Frames below the first are left out of the text beyond so many. */
const framesShown = 10;

function threadOf(
  { threadId, name, frames, omittedFrames }: StoppedThread,
  { stopThreadId }: DebugSession,
  screen: Screen,
): string {
  const shown = frames.slice(0, framesShown);
  const left = frames.length - shown.length + omittedFrames;
  const mark = threadId === stopThreadId ? "*" : " ";
  const columns = [
    { title: "", cells: shown.map(({ name }) => oneLine(name, 60)) },
    { title: "", cells: shown.map(placeOf) },
  ];
  // The table's own head is of no use here.
  const table = shown.length === 0 ? "" : formatTable(columns, screen).split("\n").slice(1).join("\n");
  const [top] = frames;
  const variables = top === undefined ? "" : scopesOf(top);
  const rest = left > 0 ? `    and ${left} more\n` : "";
  return `${mark} ${threadId} ${oneLine(name, 60)}\n${indent(indent(table))}${rest}${indent(indent(variables))}`;
}

function placeOf({ source, line }: StackFrame): string {
  return `${shortPath(source?.path ?? source?.name ?? "?")}:${line}`;
}

/** The end of a path tells more than its beginning. */
function shortPath(path: string): string {
  const lengthMax = 50;
  const whole = oneLine(path, 4_096);
  return whole.length <= lengthMax ? whole : `…${whole.slice(1 - lengthMax)}`;
}

const variablesShown = 20;

function scopesOf({ scopes = [] }: StackFrame): string {
  const lines = scopes.flatMap(({ name, variables = [], omittedVariables = 0 }) => {
    if (variables.length === 0) return [];
    const shown = variables
      .slice(0, variablesShown)
      .map((variable) => `  ${oneLine(`${variable.name} = ${variable.value}`, 100)}`);
    const left = variables.length - shown.length + omittedVariables;
    return [oneLine(name, 60), ...shown, ...(left > 0 ? [`  and ${left} more`] : [])];
  });
  return lines.map((line) => `${line}\n`).join("");
}

function breakpointTable({ breakpoints, debugSession }: DebugView, screen: Screen): string {
  const hit = debugSession.hitBreakpointIds ?? [];
  return formatTable(
    [
      { title: "", cells: breakpoints.map(({ id }) => (hit.includes(id) ? "*" : "")) },
      { title: "kind", cells: breakpoints.map(({ kind }) => kind) },
      { title: "at", cells: breakpoints.map((breakpoint) => oneLine(askedAt(breakpoint), 100)) },
      { title: "when", cells: breakpoints.map((breakpoint) => oneLine(whenOf(breakpoint), 60)) },
      { title: "bound", cells: breakpoints.map((breakpoint) => oneLine(boundTo(breakpoint), 60)) },
      { title: "hits", align: "right", cells: breakpoints.map(({ hitCount }) => String(hitCount)) },
    ],
    screen,
  );
}

function askedAt({ requested, sourcePath }: DebugBreakpoint): string {
  if ("line" in requested) return `${shortPath(sourcePath ?? "")}:${requested.line}`;
  if ("name" in requested) return requested.name;
  if ("dataId" in requested) return requested.dataId;
  if ("instructionReference" in requested)
    return `${requested.instructionReference}${requested.offset === undefined ? "" : `+${requested.offset}`}`;
  return "filterId" in requested
    ? requested.filterId
    : `${requested.breakMode} ${requested.path?.map(({ names }) => names.join("|")).join("/") ?? ""}`;
}

function whenOf({ requested }: DebugBreakpoint): string {
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

function boundTo({ line, bound, verified }: DebugBreakpoint): string {
  if (bound === null) return "not told yet";
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
