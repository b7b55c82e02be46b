// The caller of an operation: actor, request id and idempotency key, which are stored in rows, so each is checked; and the
// token for which it calls and the trace context, which are not stored.
import { StoreError } from "./errors.ts";
import { bounds } from "./limits.ts";
import { idPattern } from "./model/ids.ts";
import { isStorable } from "./model/json.ts";

/** The caller of an operation. Actor and request id appear in audit rows. */
export interface Caller {
  readonly actor: string | undefined;
  readonly requestId: string | undefined;
  /** The token under whose authority the call runs. It is not stored. */
  readonly tokenId?: string | undefined;
  /** Set when the same call, made again, must run once and get the same answer. */
  readonly idempotency: Idempotency | undefined;
}

export interface Idempotency {
  readonly key: string;
  /** The SHA-256 of the caller's input before defaults are filled in, in hexadecimal. */
  readonly request: string;
}

/** The idempotency key of an atomic envelope; it covers all calls of the envelope. */
export interface EnvelopeKey extends Idempotency {
  readonly actor: string | undefined;
}

export const anonymous: Caller = { actor: undefined, requestId: undefined, idempotency: undefined };

/** The format of https://www.w3.org/TR/trace-context/#traceparent-header; versions to come may add fields. */
const traceparentPattern =
  /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x21-\x7e]{0,72})?$/;

/** Returns a trace context if it is well formed. A malformed one is ignored, as its standard asks, and fails no call. */
export function traceparentIn(value: unknown): string | undefined {
  return typeof value === "string" && traceparentPattern.test(value) ? value : undefined;
}

/** Returns a text of a caller as far as it may be shown: a port may send anything. */
export function callerText(value: unknown): string | undefined {
  return typeof value === "string" && value.length <= bounds.callerLength ? value : undefined;
}

/** Fails with `invalid_input` when a part of the caller is not text that both engines can store. */
export function checkCaller({ actor, requestId, tokenId, idempotency }: Caller): void {
  // The types promise text, but a port may send anything.
  for (const value of [actor, requestId] as readonly unknown[]) {
    if (value === undefined || (typeof value === "string" && value.length <= bounds.callerLength && isStorable(value)))
      continue;
    throw new StoreError(
      "invalid_input",
      `actor and requestId: expected text of at most ${bounds.callerLength} characters, without U+0000 or a lone surrogate`,
    );
  }
  if (tokenId !== undefined && !(typeof tokenId === "string" && idPattern.test(tokenId)))
    throw new StoreError("invalid_input", "tokenId: expected the id of a token, a UUID in lower case");
  if (idempotency === undefined) return;
  const { key, request } = idempotency as { key: unknown; request: unknown };
  if (typeof key !== "string" || key === "" || key.length > bounds.keyLength || !isStorable(key)) {
    throw new StoreError(
      "invalid_input",
      `idempotencyKey: expected text of 1 to ${bounds.keyLength} characters, without U+0000 or a lone surrogate`,
    );
  }
  if (typeof request !== "string" || !/^[0-9a-f]{64}$/.test(request))
    throw new StoreError("invalid_input", "idempotencyKey: expected the SHA-256 of the request beside the key");
}
