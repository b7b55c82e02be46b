// The spans of calls and groups. A call has one where it is made, and one where it runs; a group has one, which is linked to
// those of its calls, because it serves calls of several traces.
import {
  type Attributes,
  type Context,
  context,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import type { CallTrace, GroupTrace, ServeTrace } from "../tracing.ts";
import { callAttributes, callDetails, failureAttributes, groupAttributes } from "./attributes.ts";
import { formatTraceparent, parseTraceparent } from "./traceparent.ts";

export class StoreSpans {
  readonly #tracer: Tracer;
  readonly #calls = new WeakMap<CallTrace, Span>();
  readonly #groups = new WeakMap<GroupTrace, SpanContext>();

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  /** Begins the span of a call, under the active span or else under the trace context of the call, and sends its own. */
  beginCall(call: CallTrace): void {
    const active = context.active();
    const given = parseTraceparent(call.traceparent);
    const parent =
      trace.getSpan(active) !== undefined || given === undefined ? active : trace.setSpanContext(active, given);
    const attributes = { ...callAttributes(call), ...callDetails(call) };
    const span = this.#tracer.startSpan(
      nameOf(attributes),
      { kind: SpanKind.CLIENT, startTime: call.startedAtMs, attributes },
      parent,
    );
    this.#calls.set(call, span);
    const own = span.spanContext();
    if (isSpanContextValid(own)) call.traceparent = formatTraceparent(own);
  }

  endCall(call: CallTrace): void {
    const span = this.#calls.get(call);
    if (span === undefined) return;
    // The calls of `atomically` are known by now.
    span.setAttributes({ ...callAttributes(call), ...callDetails(call), ...outcomeOf(call) });
    end(span, call, failureAttributes(call, call.error));
  }

  /** Adds the span of a group, and of its COMMIT, if one of its calls is traced. */
  addGroup(group: GroupTrace): void {
    const contexts = group.calls.flatMap(({ traceparent }) => parseTraceparent(traceparent) ?? []);
    const [first] = contexts;
    if (first === undefined) return;
    // A trace that nobody records would take the group with it.
    const parent = contexts.find(({ traceFlags }) => (traceFlags & TraceFlags.SAMPLED) !== 0) ?? first;
    const name = "db.operation.name";
    const attributes = groupAttributes(group);
    const span = this.#tracer.startSpan(
      "transaction",
      {
        kind: SpanKind.CLIENT,
        startTime: group.startedAtMs,
        attributes: {
          ...attributes,
          [name]: "transaction",
          "debug_server_db.group.size": group.size,
          "debug_server_db.group.wrote": group.wrote,
        },
        links: contexts.map((linked) => ({ context: linked })),
      },
      under(parent),
    );
    this.#groups.set(group, span.spanContext());
    const { commitMs, committedAtMs } = group;
    if (commitMs !== undefined && committedAtMs !== undefined) {
      const startTime = committedAtMs - commitMs;
      const options = { kind: SpanKind.CLIENT, startTime, attributes: { ...attributes, [name]: "COMMIT" } };
      this.#tracer.startSpan("COMMIT", options, trace.setSpan(ROOT_CONTEXT, span)).end(committedAtMs);
    }
    end(span, group, failureAttributes(group));
  }

  /** Adds the span of a call on the side of the database, if the call is traced. Its group comes before it. */
  addServed(served: ServeTrace): void {
    const caller = parseTraceparent(served.traceparent);
    if (caller === undefined) return;
    const { group, startedAtMs, runs } = served;
    const groupContext = group && this.#groups.get(group);
    const attributes: Attributes = {
      ...callAttributes(served),
      ...callDetails(served),
      ...outcomeOf(served),
      "debug_server_db.runs": runs,
      ...(group === undefined
        ? {}
        : {
            "debug_server_db.group.size": group.size,
            "debug_server_db.wait_ms": Math.max(0, group.startedAtMs - startedAtMs),
          }),
    };
    const span = this.#tracer.startSpan(
      nameOf(attributes),
      {
        kind: SpanKind.SERVER,
        startTime: startedAtMs,
        attributes,
        links: groupContext === undefined ? [] : [{ context: groupContext }],
      },
      under(caller),
    );
    end(span, served, failureAttributes(served));
  }
}

function under(parent: SpanContext): Context {
  return trace.setSpanContext(ROOT_CONTEXT, parent);
}

/** Returns the name of the span of a call. The operation names its target, so it is enough by the conventions. */
function nameOf(attributes: Attributes): string {
  return String(attributes["db.operation.name"]);
}

function outcomeOf({ outcome }: CallTrace | ServeTrace): Attributes {
  return outcome === undefined ? {} : { "debug_server_db.outcome": outcome };
}

function end(
  span: Span,
  { endedAtMs, error }: { readonly endedAtMs: number | undefined; readonly error?: unknown },
  failure: Attributes,
): void {
  if ("error.type" in failure) {
    span.setAttributes(failure);
    span.setStatus({
      code: SpanStatusCode.ERROR,
      ...(error instanceof Error ? { message: error.message } : {}),
    });
  }
  span.end(endedAtMs);
}
