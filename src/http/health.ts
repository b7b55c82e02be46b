// Health over HTTP, for the supervisor of the process: /livez fails when a restart may help, /readyz while the store
// cannot take work.

import { StoreError } from "../errors.ts";
import { realTime } from "../realTime.ts";
import type { Liveness, Store } from "../storeTypes.ts";
import { cached } from "./cached.ts";

export interface HealthHandlerOptions {
  /** The time within which the store must answer, in milliseconds. Defaults to 1 000. */
  readonly pingMs?: number;
  /** The time for which one answer of the store serves all requests, in milliseconds. Defaults to 250. */
  readonly cacheMs?: number;
}

/** A store to check. Without `liveness`, as on an attached store, /livez depends on its answers alone. */
export interface CheckedStore {
  readonly maintenance: Pick<Store["maintenance"], "health">;
  liveness?(): Liveness;
}

interface Check {
  readonly ok: boolean;
  readonly [figure: string]: unknown;
}

interface Report {
  readonly ok: boolean;
  readonly checks: Readonly<Record<string, Check>>;
}

/**
 * Returns a handler of GET and HEAD requests for paths that end in /livez or /readyz. It responds with 200 or 503 and
 * one line of text, or with all checks as JSON when the query has `verbose`. The checks hold codes and numbers only,
 * never SQL or paths. /livez is 503 only when a restart of the process may help.
 */
export function healthHandler(
  store: CheckedStore,
  { pingMs = 1_000, cacheMs = 250 }: HealthHandlerOptions = {},
): (request: Request) => Promise<Response> {
  const ready = cached(() => checkReady(store, pingMs), cacheMs);
  const live =
    store.liveness === undefined
      ? async () => checkAnswered(await ready())
      : async () => checkLive((store as Required<CheckedStore>).liveness());
  return async (request) => {
    const { pathname, searchParams } = new URL(request.url);
    const check = pathname.endsWith("/livez") ? live : pathname.endsWith("/readyz") ? ready : undefined;
    if (check === undefined) return answer(request, 404, "the paths are /livez and /readyz\n");
    if (request.method !== "GET" && request.method !== "HEAD")
      return answer(request, 405, "GET or HEAD\n", { allow: "GET, HEAD" });
    const { ok, checks } = await check();
    const text = ok ? "ok" : "not ok";
    if (!searchParams.has("verbose")) return answer(request, ok ? 200 : 503, `${text}\n`);
    return answer(request, ok ? 200 : 503, `${JSON.stringify({ status: text, checks }, undefined, 2)}\n`, {
      "content-type": "application/json",
    });
  };
}

function answer(request: Request, status: number, body: string, headers: Record<string, string> = {}): Response {
  const all = { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store", ...headers };
  return new Response(request.method === "HEAD" ? null : body, { status, headers: all });
}

function checkLive({ state, beatAgoMs }: Liveness): Report {
  const ok = state === "beating" || state === "replacing";
  return { ok, checks: { thread: { ok, state, beatAgoMs } } };
}

/** The codes with which a call fails when no answer came. */
const silent: ReadonlySet<unknown> = new Set(["deadline_exceeded", "closed", "aborted"]);

/** Checks only that the other thread answers, because a restart helps against neither a full disk nor a full queue. */
function checkAnswered({ checks: { ping } }: Report): Report {
  const ok = ping !== undefined && (ping.ok || (ping.failed !== undefined && !silent.has(ping.failed)));
  return { ok, checks: { ping: { ...ping, ok } } };
}

async function checkReady(store: CheckedStore, pingMs: number): Promise<Report> {
  const startedAtMs = realTime.elapsed();
  try {
    const { ready, checks } = await store.maintenance.health({}, { timeoutMs: pingMs });
    const answeredMs = Math.round(realTime.elapsed() - startedAtMs);
    const inTime = answeredMs <= pingMs;
    return { ok: ready && inTime, checks: { ping: { ok: inTime, answeredMs }, ...checks } };
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    // The client's own queue is so full that it refused this call.
    const checks: Report["checks"] = error.code === "overloaded" ? { queue: { ok: false, percent: 100 } } : {};
    return { ok: false, checks: { ping: { ok: false, failed: error.code }, ...checks } };
  }
}
