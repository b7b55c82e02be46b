// The metrics of a store over HTTP, for Prometheus and others that read its format.
import { StoreError } from "../errors.ts";
import type { Store } from "../storeTypes.ts";
import { covers, metricsScope } from "./access.ts";
import { cached } from "./cached.ts";
import type { CallMeter } from "./callMeter.ts";
import { expositionType, writeMetrics } from "./exposition.ts";
import { bearer, type ConnectionInfo, type Identify, type Identity, identified } from "./identity.ts";
import { type MeasuredStore, metricsOf, readFigures } from "./metrics.ts";
import { problemResponse, RequestError } from "./problems.ts";
import { acceptedTypes, requestIdOf } from "./request.ts";
import { WrongTokens, type WrongTokensOptions } from "./wrongTokens.ts";

export interface MetricsOptions {
  /** The time for which one answer of the store serves all requests, in milliseconds. Defaults to 1 000. */
  readonly cacheMs?: number;
  /**
   * The time within which the store must answer, in milliseconds; after it, the metrics of the store are left out. Defaults
   * to 5 000.
   */
  readonly timeoutMs?: number;
}

export interface MetricsHandlerOptions extends MetricsOptions {
  /**
   * Tells who sends a request. Returns undefined, or fails with a RequestError, to refuse it. By default, a request needs a
   * bearer token of the store.
   */
  readonly identify?: Identify;
  /** The bounds for wrong tokens from one address. */
  readonly wrongTokens?: WrongTokensOptions;
}

/**
 * Returns a handler of GET and HEAD requests of any path, which responds with the metrics of the store. The sender must
 * cover the scope `metrics:read`. The handler never fails. `storeHandler` has one at /metrics, which also counts its calls.
 */
export function metricsHandler(
  store: MeasuredStore & Pick<Store, "tokens">,
  { identify, wrongTokens, ...options }: MetricsHandlerOptions = {},
): (request: Request, connection?: ConnectionInfo) => Promise<Response> {
  const tellSender = identify ?? bearer(store, new WrongTokens(wrongTokens));
  const metrics = metricsResponder(store, options);
  return async (request, connection = {}) => {
    try {
      return await metrics(request, () => identified(tellSender, request, connection));
    } catch (error) {
      return problemResponse(error, requestIdOf(request));
    }
  };
}

/**
 * Returns the function that responds with the metrics of a store, after it has checked who asks. However often it is
 * called, it asks the store at most once in `cacheMs`.
 */
export function metricsResponder(
  store: MeasuredStore,
  { cacheMs = 1_000, timeoutMs = 5_000 }: MetricsOptions,
  calls?: CallMeter,
): (request: Request, identityOf: () => Promise<Identity>) => Promise<Response> {
  const read = cached(async () => {
    const metrics = metricsOf(await readFigures(store, calls, timeoutMs));
    const texts = new Map<string, Promise<string>>();
    return (type: ReturnType<typeof expositionType>) => {
      const text = texts.get(type) ?? writeMetrics(metrics, type);
      texts.set(type, text);
      return text;
    };
  }, cacheMs);
  return async (request, identityOf) => {
    const { method } = request;
    if (method !== "GET" && method !== "HEAD")
      throw new RequestError("method_not_allowed", `the method is GET or HEAD, not ${method}`, { allow: "GET, HEAD" });
    if (!covers((await identityOf()).scopes, metricsScope)) {
      const details = { missing: [metricsScope] };
      throw new StoreError("scope_missing", `the token does not cover ${metricsScope}`, { details });
    }
    const type = expositionType(acceptedTypes(request.headers));
    const text = await (await read())(type);
    return new Response(method === "HEAD" ? null : text, {
      headers: { "content-type": type, "cache-control": "no-store", vary: "accept" },
    });
  };
}
