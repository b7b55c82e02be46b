// Health over HTTP, for whatever supervises the process: /livez, is it worth keeping, and /readyz, is it worth sending work to.

import { StoreError } from "../errors.ts";
import type { Liveness, Store } from "../storeTypes.ts";

export interface HealthHandlerOptions {
  /** The store must answer within so many milliseconds; 1 000 unless given. */
  readonly pingMs?: number;
  /** One answer of the store serves all requests of so many milliseconds; 250 unless given. */
  readonly cacheMs?: number;
}

/** A store that owns its database knows its thread; of one in another thread only its answers tell. */
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
 * Answers GET and HEAD of paths that end in /livez and /readyz, of which the first says no only when a restart may help: 200 or 503, one line of text, or with ?verbose all checks as JSON. Codes and figures only,
 * neither SQL nor paths.
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
    if (check === undefined) return answer(request, 404, "there is /livez and /readyz\n");
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

const silent: ReadonlySet<unknown> = new Set(["deadline_exceeded", "closed", "aborted"]);

/** Whether the other thread answers at all: a full disk, or a full queue, is no better after a restart. */
function checkAnswered({ checks: { ping } }: Report): Report {
  const ok = ping !== undefined && (ping.ok || (ping.failed !== undefined && !silent.has(ping.failed)));
  return { ok, checks: { ping: { ...ping, ok } } };
}

async function checkReady(store: CheckedStore, pingMs: number): Promise<Report> {
  const startedAt = performance.now();
  try {
    const { ready, checks } = await store.maintenance.health({}, { timeoutMs: pingMs });
    const answeredMs = Math.round(performance.now() - startedAt);
    const inTime = answeredMs <= pingMs;
    return { ok: ready && inTime, checks: { ping: { ok: inTime, answeredMs }, ...checks } };
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    // Its own queue is so full that not even this call was taken.
    const checks: Report["checks"] = error.code === "overloaded" ? { queue: { ok: false, percent: 100 } } : {};
    return { ok: false, checks: { ping: { ok: false, failed: error.code }, ...checks } };
  }
}

/** Requests that come together share one look, and those that follow soon its answer. */
function cached<Value>(look: () => Promise<Value>, forMs: number): () => Promise<Value> {
  let current: Promise<Value> | undefined;
  return () => {
    if (current === undefined) {
      const forget = (): void => {
        current = undefined;
      };
      current = look();
      // A look that is under way is shared however long it takes.
      current.then(() => setTimeout(forget, forMs).unref(), forget);
    }
    return current;
  };
}
