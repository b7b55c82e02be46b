// Turns the arguments of a method into a call that can be sent: checks, seals and encodes the input, and adds the
// caller. Runs on the caller's thread.
import { types } from "node:util";
import { anonymous, type Caller, checkCaller, traceparentIn } from "./caller.ts";
import { StoreError } from "./errors.ts";
import { idFrom } from "./model/ids.ts";
import { isPlainObject } from "./model/plainObject.ts";
import { messageOf } from "./model/realms.ts";
import { hashRequest } from "./model/requestHash.ts";
import type { AnyOperation } from "./operation.ts";
import type { WireCaller } from "./wire.ts";

/** A call whose input has been checked and encoded. */
export interface Outgoing {
  readonly name: string;
  readonly operation: AnyOperation;
  readonly wire: readonly unknown[];
  readonly caller: WireCaller;
  /** The part of the input that the operation needs to complete the answer; it never travels. */
  readonly localPart: unknown;
}

interface CallerOptions {
  readonly actor?: string | undefined;
  readonly requestId?: string | undefined;
  readonly idempotencyKey?: string | undefined;
  readonly traceparent?: string | undefined;
  readonly tokenId?: string | undefined;
}

/**
 * Prepares a call. An idempotency key stands for `request`, from which the input of a later step differs. Fails with
 * `invalid_input`, or with a code of the operation's `seal`; the error names the operation.
 */
export function outgoing(
  name: string,
  operation: AnyOperation,
  input: unknown,
  { actor, requestId, idempotencyKey: key, traceparent: given, tokenId }: CallerOptions,
  request: unknown = input,
): Outgoing {
  try {
    const { wireInput, localPart } = operation.seal(withIdOfKey(name, operation, input, actor, key));
    const wire = withOwnBytes(operation.encode(wireInput));
    const traceparent = traceparentIn(given);
    if ([actor, requestId, key, traceparent, tokenId].every((part) => part === undefined))
      return { name, operation, wire, caller: undefined, localPart };
    // Reads need no key.
    const idempotency =
      key !== undefined && operation.access === "write" ? { key, request: hashRequest(request) } : undefined;
    const caller = { actor, requestId, tokenId, idempotency };
    checkCaller(caller);
    return { name, operation, wire, caller: wireCaller(caller, traceparent), localPart };
  } catch (error) {
    if (error instanceof StoreError)
      throw new StoreError(error.code, `${name}: ${error.message}`, { details: error.details, operation: name });
    // The input contains itself, or a getter or a proxy in it threw.
    throw new StoreError("invalid_input", `${name}: the input cannot be read: ${messageOf(error)}`, {
      operation: name,
      cause: error,
    });
  }
}

/** Derives the id of the row that the call creates from its idempotency key, where repetitions have to find the row. */
function withIdOfKey(
  name: string,
  { idOfKey }: AnyOperation,
  input: unknown,
  actor: string | undefined,
  key: string | undefined,
): unknown {
  if (idOfKey === undefined || key === undefined || !isPlainObject(input) || input[idOfKey] !== undefined) return input;
  return { ...input, [idOfKey]: idFrom(JSON.stringify([name, actor, key])) };
}

/** Adds the trace context of an atomic envelope to its first call, with which it travels once. */
export function withTraceparent(calls: readonly Outgoing[], given: string | undefined): readonly Outgoing[] {
  const [first, ...others] = calls;
  const traceparent = traceparentIn(given);
  if (traceparent === undefined || first === undefined) return calls;
  const [actor, requestId, key, request, envelope, , tokenId] = first.caller ?? [];
  return [{ ...first, caller: [actor, requestId, key, request, envelope, traceparent, tokenId] }, ...others];
}

/**
 * Adds the idempotency key of an atomic envelope to its first call. It covers all calls, so it travels once, with the
 * hash of all inputs; `inputs` holds the name and the input of each call. An envelope that only reads needs no key.
 */
export function withEnvelopeKey(
  calls: readonly Outgoing[],
  inputs: readonly unknown[],
  { actor, idempotencyKey: key }: CallerOptions,
): readonly Outgoing[] {
  const [first, ...others] = calls;
  if (key === undefined || first === undefined || calls.every(({ operation }) => operation.access === "read"))
    return calls;
  const request = hashRequest(inputs);
  checkCaller({ ...anonymous, actor, idempotency: { key, request } });
  const [firstActor, requestId, firstKey, firstRequest, , traceparent, tokenId] = first.caller ?? [];
  const envelope = [actor, key, request] as const;
  const caller = [firstActor, requestId, firstKey, firstRequest, envelope, traceparent, tokenId] as const;
  return [{ ...first, caller }, ...others];
}

/** Returns the caller without the values at its end that are not set. */
function wireCaller({ actor, requestId, idempotency, tokenId }: Caller, traceparent: string | undefined): WireCaller {
  if (tokenId !== undefined)
    return [actor, requestId, idempotency?.key, idempotency?.request, undefined, traceparent, tokenId];
  if (traceparent !== undefined)
    return [actor, requestId, idempotency?.key, idempotency?.request, undefined, traceparent];
  if (idempotency !== undefined) return [actor, requestId, idempotency.key, idempotency.request];
  return actor === undefined && requestId === undefined ? undefined : [actor, requestId];
}

/**
 * Copies the bytes among the values of an input, because the caller may reuse the buffer before the call is sent, and
 * structured clone would copy the whole buffer behind a view (D-010).
 */
function withOwnBytes(wire: unknown[]): readonly unknown[] {
  for (let index = 0; index < wire.length; index++) {
    const value = wire[index];
    if (typeof value === "object" && types.isUint8Array(value)) wire[index] = new Uint8Array(value);
  }
  return wire;
}
