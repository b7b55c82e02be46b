// The operations of a store over HTTP, as a function from a standard Request to a Response.
import { readFileSync } from "node:fs";
import { type Context, Hono } from "hono";
import { cors } from "hono/cors";
import type { CallOptions } from "../client.ts";
import { StoreError } from "../errors.ts";
import type { AnyOperation } from "../operation.ts";
import { operations } from "../operations/table.ts";
import { packageRoot } from "../package.ts";
import { present } from "../present.ts";
import { realTime, sleep } from "../realTime.ts";
import { framesPath } from "../remote/protocol.ts";
import type { Store } from "../storeTypes.ts";
import { methodsOf, type OperationName, operationScopes } from "./access.ts";
import { askedArtifact, contentOf } from "./artifactContent.ts";
import { upload, uploadTypeOf } from "./artifactUpload.ts";
import { CallMeter, type MeteredCode, type MeteredName } from "./callMeter.ts";
import { type ConnectingStore, RemoteClients } from "./envelopes.ts";
import { type CheckedStore, healthHandler } from "./health.ts";
import {
  asCaller,
  authorityOf,
  bearer,
  type ConnectionInfo,
  clientAddress,
  type Identify,
  type Identity,
  identified,
  requireScope,
} from "./identity.ts";
import { inputOf, jsonOf } from "./json.ts";
import { type MetricsOptions, metricsResponder } from "./metricsHandler.ts";
import { pageResponse } from "./page.ts";
import { problemOf, problemResponse, RefusedToken, RequestError } from "./problems.ts";
import { rawLog } from "./rawLog.ts";
import { BodyReader, queryOf, rawTypeOf, readInput, requestIdOf, requireOwnPage, traceparentOf } from "./request.ts";
import { formOf, resumed, streamBody, streamTypes } from "./streams.ts";
import { Wait } from "./wait.ts";
import { WrongTokens, type WrongTokensOptions } from "./wrongTokens.ts";

export interface StoreHandlerOptions {
  /**
   * The path below which the handler is mounted, such as "/debug", when it gets the whole URL of a request, as in Hono. Not
   * needed where a framework takes the path away, as Express does for `app.use("/debug", nodeHandler(handler))`.
   */
  readonly prefix?: string;
  /** The largest size of a body in bytes. Defaults to 8 MiB, the largest message that a store takes by default. */
  readonly bodyBytesMax?: number;
  /**
   * The folder for the bytes of artifacts: those that clients send go there, and those whose uri leads there are sent.
   * Without it, there is no `artifacts.content`.
   */
  readonly artifactsFolder?: string;
  /** The largest size of a file that is sent as an artifact, in bytes. Defaults to 1 GiB. */
  readonly artifactBytesMax?: number;
  /** True to serve a page at `/` that shows the store to people with a token. Defaults to false. */
  readonly page?: boolean;
  /** The origins whose pages may call the API from a browser, such as "https://app.example.org". Defaults to none. */
  readonly origins?: readonly string[];
  /**
   * Tells who sends a request, in an API that authenticates by itself: its scopes, and the name for audit rows. Returns
   * undefined, or fails with a RequestError, to refuse it. By default, a request needs a bearer token of the store.
   */
  readonly identify?: Identify;
  /** The bounds for wrong tokens from one address. */
  readonly wrongTokens?: WrongTokensOptions;
  /**
   * The number of proxies before this server that append the address of their client to X-Forwarded-For. Defaults to 0:
   * the header is not read, and all requests of a proxy count as of one address.
   */
  readonly proxies?: number;
  /** The time between two comments in a stream of events that has nothing to say, in milliseconds. Defaults to 15 000. */
  readonly heartbeatMs?: number;
  /** The metrics at /metrics, or false for none. */
  readonly metrics?: MetricsOptions | false;
  /** Ends waits and streams when it fires, so that a server can end. They are answered with `closed`. */
  readonly closing?: AbortSignal;
  /** Receives each answered request, for a log. Neither tokens nor bodies are in it. */
  readonly onResponse?: (answered: Answered) => void;
  /** Receives the failures that are answered with the status 500: bugs. Defaults to a warning of the process. */
  readonly onError?: (error: unknown, requestId: string) => void;
}

/** A request that was answered. The body of a stream may still go on. */
export interface Answered {
  readonly requestId: string;
  readonly method: string;
  /** The path as it was sent, with its escapes and without the query. */
  readonly path: string;
  readonly status: number;
  readonly durationMs: number;
  /** The name of the account, if there was a valid token. */
  readonly actor?: string;
}

export type StoreHandler = (request: Request, connection?: ConnectionInfo) => Promise<Response>;

/** The time in which a failure of a stream still becomes the status of its response, in milliseconds. */
const firstItemMs = 100;

type Env = {
  Bindings: ConnectionInfo;
  Variables: {
    requestId: string;
    actor: string | undefined;
    /** The call that the request makes; undefined while it makes none. */
    metered: MeteredName | undefined;
    code: MeteredCode | undefined;
    startedMs: number;
  };
};
type RequestContext = Context<Env>;

/**
 * Returns a handler for `POST /v1/<entity>.<verb>`, `POST /v1/atomically`, `GET /v1/self`, the files at
 * `/v1/artifacts.content`, the calls of remote stores at `POST /v1/envelopes`, /openapi.json, /metrics, /livez and /readyz.
 * Reads can also be sent as GET, with the input in the query, unless a secret is in it. Every request under /v1 needs a
 * bearer token that covers the scope in `operationScopes`, and /metrics one with `metrics:read`. The handler never fails.
 */
export function storeHandler(
  store: Store & Partial<Pick<CheckedStore, "liveness"> & ConnectingStore>,
  options: StoreHandlerOptions = {},
): StoreHandler {
  const {
    bodyBytesMax = 8 * 1024 * 1024,
    origins = [],
    heartbeatMs = 15_000,
    proxies = 0,
    closing,
    onResponse,
    onError,
  } = options;
  const identify = options.identify ?? bearer(store, new WrongTokens(options.wrongTokens));
  const bodies = new BodyReader(bodyBytesMax);
  const meter = new CallMeter();
  const remoteClients = isConnecting(store) ? new RemoteClients(store, { closing, bodyBytesMax, meter }) : undefined;
  const report = onError ?? warn;
  const health = healthHandler(store);
  const { prefix = "" } = options;
  if (!/^(?:(?:\/[^/?#\s]+)+)?$/.test(prefix))
    throw new StoreError("invalid_input", `prefix: expected a path such as "/debug", not ${JSON.stringify(prefix)}`);
  const app = new Hono<Env>({ getPath: (request) => pathBelow(prefix, request) });

  app.use(async (context, next) => {
    const startedMs = realTime.elapsed();
    const request = context.req.raw;
    const requestId = requestIdOf(request);
    context.set("requestId", requestId);
    context.set("startedMs", startedMs);
    await next();
    const durationMs = realTime.elapsed() - startedMs;
    noteCall(context, durationMs);
    context.header("x-request-id", requestId);
    // A server that ends waits until its connections are idle.
    if (closing?.aborted) context.header("connection", "close");
    const traceparent = traceparentOf(request);
    if (traceparent !== undefined) context.header("traceparent", traceparent);
    try {
      onResponse?.({
        requestId,
        method: request.method,
        path: new URL(request.url).pathname,
        status: context.res.status,
        durationMs,
        ...present({ actor: context.get("actor") }),
      });
    } catch (error) {
      // The request is answered: what has run, has run.
      report(error, requestId);
    }
  });
  app.use("/v1/*", async (context, next) => {
    requireUnread(context.req.raw, context.env ?? {});
    await next();
  });
  if (origins.length > 0) app.use(cors({ origin: [...origins], ...corsHeaders }));
  app.use(async (context, next) => {
    requireOwnPage(context.req.raw, origins);
    await next();
  });
  app.onError((error, context) => {
    const requestId = context.get("requestId");
    context.set("code", codeOf(error));
    const response = problemResponse(error, requestId);
    if (response.status === 500) report(error instanceof RequestError ? (error.cause ?? error) : error, requestId);
    return response;
  });
  app.notFound((context) => {
    const path = new URL(context.req.url).pathname;
    const near = nearOperation(context.req.path);
    const hint = near === undefined ? `operations are below ${prefix}/v1/` : `the operation is at ${prefix}/v1/${near}`;
    const failure = new RequestError("no_such_path", `there is nothing at ${path}: ${hint}`);
    context.set("code", failure.fault);
    return problemResponse(failure, context.get("requestId"));
  });
  app.get("/openapi.json", () => new Response(openApi(), { headers: { "content-type": "application/json" } }));
  for (const path of ["/livez", "/readyz"]) app.all(path, (context) => health(context.req.raw));

  if (options.page) {
    app.get("/", (context) => pageResponse(context.req.raw, "index.html") ?? context.notFound());
    app.get("/page/:name", (context) => pageResponse(context.req.raw, context.req.param("name")) ?? context.notFound());
  }

  /** Tells who sends the request of a context. */
  const identityOf = async (context: RequestContext) => {
    const request = context.req.raw;
    const connection = context.env ?? {};
    const remoteAddress = clientAddress(request, connection, proxies);
    const identity = await identified(identify, request, { ...connection, ...present({ remoteAddress }) });
    context.set("actor", identity.actor);
    return identity;
  };

  if (options.metrics !== false) {
    const metrics = metricsResponder(store, options.metrics ?? {}, meter);
    app.all("/metrics", (context) => metrics(context.req.raw, () => identityOf(context)));
  }

  app.all("/v1/self", async (context) => {
    context.set("metered", "self");
    requireMethod(context.req.raw, ["GET"]);
    const { actor: _, ...identity } = await identityOf(context);
    return json(identity);
  });
  app.all("/v1/atomically", async (context) => {
    context.set("metered", "atomically");
    const request = context.req.raw;
    requireMethod(request, ["POST"]);
    const identity = await identityOf(context);
    const { calls } = (await bodies.json(request)) as { calls?: unknown };
    const recorded = callsOf(calls).map(({ name, operation, input }) => {
      requireScope(identity, name);
      return { name, input: asCaller(name, inputOf(operation, input), identity) };
    });
    const record = (tx: unknown) => {
      for (const { name, input } of recorded)
        methodOf(tx, name)(input, present({ tokenId: authorityOf(identity, name) }));
    };
    const callOptions = callOptionsOf(request, identity, context.get("requestId"), request.signal);
    return json(await store.atomically(record, callOptions));
  });
  app.all("/v1/artifacts.content", async (context) => {
    context.set("metered", "artifacts.content");
    const request = context.req.raw;
    requireMethod(request, ["GET", "HEAD", "POST"]);
    const { artifactsFolder: folder, artifactBytesMax: bytesMax = 1024 ** 3 } = options;
    const identity = await identityOf(context);
    if (folder === undefined)
      throw new RequestError(
        "no_such_path",
        "this server keeps no files of artifacts: its option artifactsFolder names none",
      );
    const callOptions = {
      ...callOptionsOf(request, identity, context.get("requestId"), request.signal),
      ...present({ tokenId: authorityOf(identity, "artifacts.begin") }),
    };
    const query = queryOf(request, operations.artifacts.begin, ["artifactId"]);
    if (request.method !== "POST") {
      requireScope(identity, "artifacts.get");
      const artifact = await askedArtifact(store, query, callOptions);
      return await contentOf(artifact, folder, request, (error) => (onError ?? warn)(error, context.get("requestId")));
    }
    requireScope(identity, "artifacts.begin");
    const contentType = uploadTypeOf(request.headers);
    const input = "artifactId" in query ? query : { ...present({ contentType }), ...query };
    const { awaitsContinue = false } = context.env ?? {};
    return json(await upload(request, input as never, { store, folder, bytesMax, awaitsContinue, callOptions }));
  });
  app.post(framesPath, async (context) => {
    const identify = () => identityOf(context);
    const identity = await identify();
    if (remoteClients === undefined)
      throw new StoreError("unknown_operation", "this server's store is attached, and cannot serve remote stores");
    return await remoteClients.handle(bodies, context.req.raw, identity, identify);
  });
  app.all("/v1/:operation", async (context) => {
    const request = context.req.raw;
    const name = context.req.param("operation") as OperationName;
    const operation = operationOf(name);
    context.set("metered", name);
    requireMethod(request, methodsOf(operation));
    const identity = await identityOf(context);
    requireScope(identity, name);
    const given = await readInput(request, operation, bodies);
    const input = asCaller(name, resumed(name, given, request.headers.get("last-event-id")), identity);
    const requestId = context.get("requestId");
    const call = methodOf(store, name);
    const optionsWith = (signal: AbortSignal): CallOptions => ({
      ...callOptionsOf(request, identity, requestId, signal),
      ...present({ tokenId: authorityOf(identity, name) }),
    });
    const verify = async () => requireScope(await identityOf(context), name);
    if (operation.stream !== undefined) return await stream(context, name, input, identity, verify);
    if (!operation.waits) {
      const result = await call(input, optionsWith(request.signal));
      const rawType = name === "logs.read" ? rawTypeOf(request) : undefined;
      return rawType === undefined ? json(result) : rawLog(result as never, rawType);
    }
    const wait = new Wait([request.signal, closing], verify, heartbeatMs);
    try {
      return json(await call(input, optionsWith(wait.signal)));
    } catch (error) {
      throw wait.failureOf(error);
    } finally {
      wait.end();
    }
  });

  /** Counts the call that a request has made, or its failure to make one. */
  function noteCall(context: RequestContext, ms: number): void {
    const code = context.get("code");
    const metered = context.get("metered");
    if (metered !== undefined || code !== undefined) meter.count(metered ?? "none", code ?? "ok", ms);
  }

  /** Answers an iteration with a body that goes on. */
  async function stream(
    context: RequestContext,
    name: OperationName,
    input: object,
    identity: Identity,
    verify: () => Promise<void>,
  ): Promise<Response> {
    const request = context.req.raw;
    const requestId = context.get("requestId");
    const form = formOf(name, request.headers);
    const wait = new Wait([request.signal, closing], verify, heartbeatMs);
    const iterate = methodOf(store, name) as unknown as (
      input: object,
      options: CallOptions,
    ) => AsyncGenerator<unknown, void, undefined>;
    const items = iterate(input, {
      ...callOptionsOf(request, identity, requestId, wait.signal),
      ...present({ tokenId: authorityOf(identity, name) }),
    });
    const failed = (error: unknown): never => {
      throw wait.failureOf(error);
    };
    const first = items.next().catch(failed) as Promise<IteratorResult<unknown, void>>;
    await Promise.race([first, sleep(firstItemMs, { signal: wait.signal })]).catch((error: unknown) => {
      wait.end();
      throw error;
    });
    // From here on, the call is counted when its stream ends.
    context.set("metered", undefined);
    const countEnd = meter.countStream(name, realTime.elapsed() - context.get("startedMs"));
    const body = streamBody(items, {
      operation: name,
      form,
      requestId,
      heartbeatMs,
      first,
      onFailure: failed,
      onEnd(failure) {
        wait.end();
        countEnd(failure === undefined ? "ok" : codeOf(failure));
      },
      onError: report,
    });
    return new Response(body, {
      headers: {
        "content-type": form === "bytes" ? streamTypes.bytes : `${streamTypes[form]}; charset=utf-8`,
        "cache-control": "no-store",
        "x-accel-buffering": "no",
      },
    });
  }

  return async (request, connection = {}) => await app.fetch(request, connection);
}

/**
 * Returns the path of a request below the prefix, or one that leads nowhere. Slashes at its beginning count as one, because
 * some clients put the paths of the OpenAPI document behind a base that ends with one.
 */
function pathBelow(prefix: string, { url }: Request): string {
  const path = new URL(url).pathname;
  if (path !== prefix && !path.startsWith(`${prefix}/`)) return `/-${path}`;
  return path.slice(prefix.length).replace(/^\/*/, "/");
}

/** Fails when something before this handler has read the body, which cannot be read twice. */
function requireUnread(request: Request, { bodyWasRead = false }: ConnectionInfo): void {
  if (request.method === "GET" || request.method === "HEAD" || !(bodyWasRead || request.bodyUsed)) return;
  throw new RequestError("body_read_before");
}

let openApiText: string | undefined;

/** Returns the description of the API, which `npm run docs` writes. */
function openApi(): string {
  openApiText ??= readFileSync(new URL("docs/openapi.json", packageRoot), "utf8");
  return openApiText;
}

const corsHeaders = {
  allowMethods: ["GET", "HEAD", "POST"],
  allowHeaders: [
    "authorization",
    "content-type",
    "idempotency-key",
    "if-range",
    "last-event-id",
    "range",
    "traceparent",
    "x-request-id",
  ],
  exposeHeaders: [
    "accept-ranges",
    "content-disposition",
    "content-range",
    "etag",
    "retry-after",
    "traceparent",
    "www-authenticate",
    "x-attempt",
    "x-dropped-bytes",
    "x-log-ended",
    "x-next-offset",
    "x-request-id",
  ],
  maxAge: 600,
};

function isConnecting(store: object): store is ConnectingStore {
  return "connect" in store;
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error));
}

function codeOf(error: unknown): MeteredCode {
  return problemOf(error instanceof RefusedToken ? error.refusal : error).code;
}

function json(result: unknown): Response {
  return new Response(jsonOf(result), { headers: { "content-type": "application/json", "cache-control": "no-store" } });
}

/** Fails with `method_not_allowed` unless the request has one of the methods. */
function requireMethod({ method }: Request, allowed: readonly string[]): void {
  if (allowed.includes(method)) return;
  throw new RequestError("method_not_allowed", `the method is ${allowed.join(" or ")}, not ${method}`, {
    allow: allowed.join(", "),
  });
}

/** Returns the operation of this name. Fails with `unknown_operation`. */
function operationOf(name: string): AnyOperation {
  const [entity = "", verb = "", ...rest] = name.split(".");
  const verbs: Readonly<Record<string, AnyOperation>> = Object.hasOwn(operations, entity)
    ? operations[entity as keyof typeof operations]
    : {};
  const known = Object.keys(verbs);
  const operation = Object.hasOwn(verbs, verb) && rest.length === 0 ? verbs[verb] : undefined;
  if (operation === undefined)
    throw new StoreError(
      "unknown_operation",
      `there is no operation ${JSON.stringify(name.slice(0, 100))}${known.length === 0 ? "" : `: ${entity} has ${known.join(", ")}`}`,
    );
  return operation;
}

/** Returns the operation that somebody means who writes a slash for the point, or no version. */
function nearOperation(path: string): string | undefined {
  const [, entity = "", verb = ""] = /^\/(?:v1\/)?(\w+)[./](\w+)\/?$/.exec(path) ?? [];
  const name = `${entity}.${verb}`;
  return Object.hasOwn(operationScopes, name) ? name : undefined;
}

/** Returns the method of a store, or of the recorder of an atomic call. */
function methodOf(target: unknown, name: OperationName) {
  const [entity = "", verb = ""] = name.split(".");
  return (target as Record<string, Record<string, (input: unknown, options?: CallOptions) => Promise<unknown>>>)[
    entity
  ]?.[verb] as (input: unknown, options?: CallOptions) => Promise<unknown>;
}

interface NamedCall {
  readonly name: OperationName;
  readonly operation: AnyOperation;
  readonly input: unknown;
}

/** Checks the list of calls of an atomic request. */
function callsOf(calls: unknown): readonly NamedCall[] {
  if (!Array.isArray(calls)) throw new StoreError("invalid_input", "calls: expected a list of { operation, input }");
  return calls.map((call: unknown, index) => {
    const { operation: name, input = {} } = (call ?? {}) as { operation?: unknown; input?: unknown };
    if (typeof name !== "string")
      throw new StoreError("invalid_input", `calls.${index}.operation: expected the name of an operation`);
    return { name: name as OperationName, operation: operationOf(name), input };
  });
}

function callOptionsOf(request: Request, { actor }: Identity, requestId: string, signal: AbortSignal): CallOptions {
  const idempotencyKey = request.headers.get("idempotency-key") ?? undefined;
  return { ...present({ actor, idempotencyKey, traceparent: traceparentOf(request) }), requestId, signal };
}
