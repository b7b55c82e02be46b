// The breakpoints of a debug session: sets them in Node's inspector, and binds them in the store.
import { pathToFileURL } from "node:url";
import type { Breakpoint, DebugBreakpoint, Store } from "../../../index.ts";
import { type Inspector, InspectorError, type Location } from "./inspector.ts";
import { sourceOf } from "./variables.ts";

export interface SourceBreakpoint {
  readonly line: number;
  readonly column?: number | undefined;
  readonly condition?: string | undefined;
  readonly hitCondition?: string | undefined;
  readonly logMessage?: string | undefined;
}

/** The debug session and the run of its adapter, which every call names. */
export interface DebugRun {
  readonly debugSessionId: string;
  readonly adapterRun: number;
}

interface BoundBreakpoint {
  readonly row: DebugBreakpoint;
  readonly adapterId: number;
  /** The inspector's id; undefined when it refused the breakpoint. */
  readonly breakpointId: string | undefined;
}

export class Breakpoints {
  readonly #store: Pick<Store, "debug">;
  readonly #inspector: Inspector;
  readonly #run: DebugRun;
  readonly #masking: { readonly secretNames?: string[] };
  readonly #byPath = new Map<string, BoundBreakpoint[]>();
  #lastAdapterId = 0;

  constructor(
    store: Pick<Store, "debug">,
    inspector: Inspector,
    run: DebugRun,
    masking: { readonly secretNames?: string[] },
  ) {
    this.#store = store;
    this.#inspector = inspector;
    this.#run = run;
    this.#masking = masking;
  }

  /** Replaces the breakpoints of a file. The program may be stopped or running. */
  async replace(path: string, breakpoints: readonly SourceBreakpoint[]): Promise<DebugBreakpoint[]> {
    const { debugSessionId } = this.#run;
    const rows = await this.#store.debug.setBreakpoints({
      debugSessionId,
      sourcePath: path,
      breakpoints: [...breakpoints],
    });
    const before = this.#byPath.get(path) ?? [];
    const remaining = before.filter(({ row }) => rows.some(({ id }) => id === row.id));
    for (const { breakpointId } of before.filter((breakpoint) => !remaining.includes(breakpoint))) {
      if (breakpointId !== undefined) await this.#inspector.send("Debugger.removeBreakpoint", { breakpointId });
    }
    this.#byPath.set(path, remaining);
    for (const row of rows.filter(({ id }) => !remaining.some((breakpoint) => breakpoint.row.id === id)))
      await this.#add(path, row);
    const { breakpoints: stored } = await this.#store.debug.get({ debugSessionId, events: 0 });
    return stored.filter(({ sourcePath }) => sourcePath === path);
  }

  /** Returns the adapter's ids of breakpoints that the inspector reports as hit. */
  adapterIdsOf(breakpointIds: readonly string[]): number[] {
    const bound = [...this.#byPath.values()].flat();
    return breakpointIds.flatMap((id) => bound.find(({ breakpointId }) => breakpointId === id)?.adapterId ?? []);
  }

  /** Returns a breakpoint at the place that the inspector reports for it. */
  at(breakpointId: string, location: Location): Breakpoint | undefined {
    for (const [path, bound] of this.#byPath) {
      const breakpoint = bound.find((candidate) => candidate.breakpointId === breakpointId);
      if (breakpoint !== undefined) return verified(path, breakpoint.adapterId, location);
    }
    return undefined;
  }

  async #add(path: string, row: DebugBreakpoint): Promise<void> {
    const adapterId = ++this.#lastAdapterId;
    const { breakpointId, breakpoint } = await this.#set(path, row.requested as SourceBreakpoint, adapterId);
    this.#byPath.get(path)?.push({ row, adapterId, breakpointId });
    await this.#store.debug.bindBreakpoints({
      ...this.#run,
      bound: [{ breakpointId: row.id, breakpoint }],
      ...this.#masking,
    });
  }

  async #set(path: string, { line, column, condition, hitCondition, logMessage }: SourceBreakpoint, id: number) {
    const refused = (message: string) => ({
      breakpointId: undefined,
      breakpoint: { id, verified: false, message, reason: "failed" as const },
    });
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
