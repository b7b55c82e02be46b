// The breakpoints of a debug session: sets them in a debug adapter, and binds them in the store.
import type { Breakpoint, DebugBreakpoint, Store } from "../../../index.ts";
import type { Reports } from "../reports.ts";
import type { Connection } from "./connection.ts";
import { AdapterError } from "./messageReader.ts";

/** The request that sets all breakpoints of a kind, and the capability without which an adapter does not have it. */
const requests = {
  source: { command: "setBreakpoints", capability: undefined },
  function: { command: "setFunctionBreakpoints", capability: "supportsFunctionBreakpoints" },
  data: { command: "setDataBreakpoints", capability: "supportsDataBreakpoints" },
  instruction: { command: "setInstructionBreakpoints", capability: "supportsInstructionBreakpoints" },
  exception: { command: "setExceptionBreakpoints", capability: "exceptionBreakpointFilters" },
} as const;

export class Breakpoints {
  readonly #store: Pick<Store, "debug">;
  readonly #connection: Connection;
  readonly #reports: Reports;
  readonly #capabilities: Readonly<Record<string, unknown>>;
  /** The ids of the breakpoints that the adapter has, for each file and each other kind. */
  readonly #set = new Map<string, string>();
  #lastSync: Promise<unknown> = Promise.resolve();

  constructor(
    store: Pick<Store, "debug">,
    connection: Connection,
    reports: Reports,
    capabilities: Readonly<Record<string, unknown>>,
  ) {
    this.#store = store;
    this.#connection = connection;
    this.#reports = reports;
    this.#capabilities = capabilities;
  }

  /** Brings the adapter to the breakpoints that the store has, and binds them. Returns them. */
  sync(): Promise<readonly DebugBreakpoint[]> {
    const synced = this.#lastSync.then(() => this.#sync());
    this.#lastSync = synced.catch(() => undefined);
    return synced;
  }

  async #sync(): Promise<readonly DebugBreakpoint[]> {
    const { debugSessionId } = this.#reports.run;
    // The adapter has those that it has made by itself already.
    const look = async () =>
      (await this.#store.debug.get({ debugSessionId, events: 0 })).breakpoints.filter(
        ({ origin }) => origin === "client",
      );
    const wanted = Map.groupBy(await look(), ({ kind, sourcePath }) => `${kind} ${sourcePath ?? ""}`);
    for (const place of new Set([...this.#set.keys(), ...wanted.keys()])) {
      const rows = wanted.get(place) ?? [];
      const ids = rows.map(({ id }) => id).join();
      if ((this.#set.get(place) ?? "") === ids) continue;
      this.#set.set(place, ids);
      const answers = await this.#send(place, rows);
      const bound = rows.map(({ id: breakpointId }, index) => ({
        breakpointId,
        breakpoint: answers[index] ?? { verified: true },
      }));
      if (bound.length > 0)
        await this.#store.debug.bindBreakpoints({ ...this.#reports.run, ...this.#reports.masking, bound });
    }
    return await look();
  }

  /** Returns the answers of the adapter. One that it does not give is that of a breakpoint which it has accepted. */
  async #send(place: string, rows: readonly DebugBreakpoint[]): Promise<readonly Breakpoint[]> {
    const separator = place.indexOf(" ");
    const kind = place.slice(0, separator) as keyof typeof requests;
    const { command, capability } = requests[kind];
    const refused = (message: string) => rows.map(() => ({ verified: false, message, reason: "failed" }));
    if (capability !== undefined && !this.#capabilities[capability])
      return refused(`the debug adapter has no ${kind} breakpoints`);
    const breakpoints = rows.map(({ requested }) => requested);
    const path = place.slice(separator + 1);
    const args =
      kind === "source"
        ? { source: { path }, breakpoints, lines: rows.map(({ line }) => line), sourceModified: false }
        : kind === "exception"
          ? {
              filters: breakpoints.flatMap((one) => ("filterId" in one ? [one.filterId] : [])),
              exceptionOptions: breakpoints.filter((one) => "breakMode" in one),
            }
          : { breakpoints };
    try {
      const answer = await this.#connection.request<{ breakpoints?: Breakpoint[] }>(command, args);
      return answer.breakpoints ?? [];
    } catch (error) {
      if (error instanceof AdapterError) return refused(error.message);
      throw error;
    }
  }
}
