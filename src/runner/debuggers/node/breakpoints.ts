// The breakpoints of a debug session: sets them in Node's inspector, and binds them in the store.
import { pathToFileURL } from "node:url";
import type { Breakpoint, DebugBreakpoint, Store } from "../../../index.ts";
import type { SourceBreakpoint } from "../debugger.ts";
import type { Reports } from "../reports.ts";
import { type Inspector, InspectorError, type Location } from "./inspector.ts";
import { sourceOf } from "./variables.ts";

interface BoundBreakpoint {
  readonly row: DebugBreakpoint;
  readonly adapterId: number;
  /** The inspector's id; undefined when it refused the breakpoint. */
  readonly breakpointId: string | undefined;
}

export class Breakpoints {
  readonly #store: Pick<Store, "debug">;
  readonly #inspector: Inspector;
  readonly #reports: Reports;
  #bound: readonly BoundBreakpoint[] = [];
  #pauseState = "none";
  #lastAdapterId = 0;
  /** The last of the changes in the inspector, which are made one after the other. */
  #lastSync: Promise<unknown> = Promise.resolve();

  constructor(store: Pick<Store, "debug">, inspector: Inspector, reports: Reports) {
    this.#store = store;
    this.#inspector = inspector;
    this.#reports = reports;
  }

  /** Replaces the breakpoints of a file. The program may be stopped or running. */
  async replace(path: string, breakpoints: readonly SourceBreakpoint[]): Promise<DebugBreakpoint[]> {
    const { debugSessionId } = this.#reports.run;
    const input = { debugSessionId, sourcePath: path, breakpoints: [...breakpoints] };
    const set = new Set((await this.#store.debug.setBreakpoints(input)).map(({ id }) => id));
    await this.sync();
    const { breakpoints: stored } = await this.#store.debug.get({ debugSessionId, events: 0 });
    return stored.filter(({ id }) => set.has(id));
  }

  /** Brings the inspector to the breakpoints that the store has, and binds the new ones. */
  sync(): Promise<void> {
    const synced = this.#lastSync.then(() => this.#sync());
    this.#lastSync = synced.catch(() => undefined);
    return synced;
  }

  async #sync(): Promise<void> {
    const { debugSessionId } = this.#reports.run;
    const { breakpoints: rows } = await this.#store.debug.get({ debugSessionId, events: 0 });
    const remaining = this.#bound.filter(({ row }) => rows.some(({ id }) => id === row.id));
    for (const { breakpointId } of this.#bound.filter((breakpoint) => !remaining.includes(breakpoint)))
      if (breakpointId !== undefined) await this.#inspector.send("Debugger.removeBreakpoint", { breakpointId });
    this.#bound = remaining;
    await this.#pauseOnExceptions(rows);
    const added = rows.filter(({ id }) => !remaining.some(({ row }) => row.id === id));
    const bound: { breakpointId: string; breakpoint: Breakpoint }[] = [];
    for (const row of added) bound.push({ breakpointId: row.id, breakpoint: await this.#add(row) });
    if (bound.length > 0)
      await this.#store.debug.bindBreakpoints({ ...this.#reports.run, ...this.#reports.masking, bound });
  }

  /** Lets the program stop at exceptions when the store has a breakpoint for that. */
  async #pauseOnExceptions(rows: readonly DebugBreakpoint[]): Promise<void> {
    const filters = rows.flatMap(({ requested }) => ("filterId" in requested ? [requested.filterId] : []));
    const state = filters.includes("all") ? "all" : filters.includes("uncaught") ? "uncaught" : "none";
    if (state === this.#pauseState) return;
    await this.#inspector.send("Debugger.setPauseOnExceptions", { state });
    this.#pauseState = state;
  }

  /** Returns the adapter's ids of breakpoints that the inspector reports as hit. */
  adapterIdsOf(breakpointIds: readonly string[]): number[] {
    return breakpointIds.flatMap((id) => this.#bound.find(({ breakpointId }) => breakpointId === id)?.adapterId ?? []);
  }

  /** Returns a breakpoint at the place that the inspector reports for it. */
  at(breakpointId: string, location: Location): Breakpoint | undefined {
    const known = this.#bound.find((breakpoint) => breakpoint.breakpointId === breakpointId);
    return known && verified(known.row.sourcePath ?? "", known.adapterId, location);
  }

  async #add(row: DebugBreakpoint): Promise<Breakpoint> {
    const adapterId = ++this.#lastAdapterId;
    const { breakpointId, breakpoint } = await this.#set(row, adapterId);
    this.#bound = [...this.#bound, { row, adapterId, breakpointId }];
    return breakpoint;
  }

  async #set({ kind, sourcePath, requested }: DebugBreakpoint, id: number) {
    const refused = (message: string) => ({
      breakpointId: undefined,
      breakpoint: { id, verified: false, message, reason: "failed" as const },
    });
    if (kind === "exception") {
      const isKnown = "filterId" in requested && exceptionFilters.some(({ filter }) => filter === requested.filterId);
      if (!isKnown) return refused("Node's inspector has the exception filters all and uncaught");
      return { breakpointId: undefined, breakpoint: { id, verified: true } };
    }
    if (kind !== "source" || sourcePath === null) return refused(`Node's inspector has no ${kind} breakpoints`);
    const { line, column, condition, hitCondition, logMessage } = requested as SourceBreakpoint;
    const path = sourcePath;
    if (hitCondition !== undefined) return refused("Node's inspector has no hit conditions");
    try {
      const { breakpointId, locations } = await this.#inspector.send<{
        breakpointId: string;
        locations: readonly Location[];
      }>("Debugger.setBreakpointByUrl", {
        url: pathToFileURL(path).href,
        lineNumber: line - 1,
        ...(column === undefined ? {} : { columnNumber: column - 1 }),
        condition: logMessage === undefined ? (condition ?? "") : logpointCondition(logMessage, condition),
      });
      const [location] = locations;
      const pending = { id, verified: false, reason: "pending" as const };
      return { breakpointId, breakpoint: location === undefined ? pending : verified(path, id, location) };
    } catch (error) {
      if (!(error instanceof InspectorError)) throw error;
      return refused(error.message);
    }
  }
}

/** The exceptions that the program can stop at, as an adapter reports them. */
export const exceptionFilters = [
  { filter: "all", label: "All exceptions" },
  { filter: "uncaught", label: "Uncaught exceptions" },
] as const;

function verified(path: string, id: number, { lineNumber, columnNumber }: Location): Breakpoint {
  return {
    id,
    verified: true,
    source: sourceOf(pathToFileURL(path).href),
    line: lineNumber + 1,
    ...(columnNumber === undefined ? {} : { column: columnNumber + 1 }),
  };
}

/** Returns a condition that prints the message and is never true. Expressions in braces are evaluated. */
function logpointCondition(message: string, condition: string | undefined): string {
  const parts = message
    .split(/(\{[^{}]*\})/)
    .map((part) => (/^\{.*\}$/s.test(part) ? `(${part.slice(1, -1)})` : JSON.stringify(part)));
  const print = `(console.log([${parts.join(", ")}].join("")), false)`;
  return condition === undefined ? print : `(${condition}) && ${print}`;
}
