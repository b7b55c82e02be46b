// The trace context of a call as text, by https://www.w3.org/TR/trace-context/, and as OpenTelemetry has it.
import type { SpanContext } from "@opentelemetry/api";

/** Parses the trace context of a call, which is well formed where there is one. */
export function parseTraceparent(text: string | undefined): SpanContext | undefined {
  if (text === undefined) return undefined;
  const [, traceId = "", spanId = "", flags = ""] = text.split("-");
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
}

export function formatTraceparent({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${(traceFlags & 0xff).toString(16).padStart(2, "0")}`;
}
