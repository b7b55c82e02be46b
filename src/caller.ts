// The caller of an operation: actor, request id and idempotency key. Each is stored in rows, so each is checked.
import { StoreError } from "./errors.ts";
import { bounds } from "./limits.ts";
import { isStorable } from "./model/json.ts";

/** The caller of an operation. Actor and request id appear in audit rows. */
export interface Caller {
  readonly actor: string | undefined;
  readonly requestId: string | undefined;
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

/** Fails with `invalid_input` when a part of the caller is not text that both engines can store. */
export function checkCaller({ actor, requestId, idempotency }: Caller): void {
  // The types promise text, but a port may send anything.
  for (const value of [actor, requestId] as readonly unknown[]) {
    if (value === undefined || (typeof value === "string" && value.length <= bounds.callerLength && isStorable(value)))
      continue;
    throw new StoreError(
      "invalid_input",
      `actor and requestId: expected text of at most ${bounds.callerLength} characters, without U+0000 or a lone surrogate`,
    );
  }
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
