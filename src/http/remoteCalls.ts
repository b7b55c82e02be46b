// The calls of a remote store as their sender may make them: under its own name, and with its own token where they name one.
import { StoreError } from "../errors.ts";
import { operations } from "../operations/table.ts";
import type { OperationName } from "./access.ts";
import { asCaller, authorityOf, type Identity } from "./identity.ts";

/** Returns the operation of this name, if there is one. */
export function operationNamed(
  name: unknown,
): { readonly keys: readonly string[]; readonly waits: boolean } | undefined {
  if (typeof name !== "string") return undefined;
  const [entity = "", verb = ""] = name.split(".");
  const verbs = Object.hasOwn(operations, entity) ? operations[entity as keyof typeof operations] : {};
  return Object.hasOwn(verbs, verb)
    ? (verbs as Record<string, (typeof operations)["sessions"]["get"]>)[verb]
    : undefined;
}

/** Returns the three values of a call as this sender may make it. Fails with a StoreError. */
export function ownCall([name, wire, caller]: readonly unknown[], identity: Identity): readonly unknown[] {
  if (typeof name !== "string") throw new StoreError("invalid_input", "the name of an operation is text");
  return [
    name,
    wireAsCaller(name as OperationName, wire, identity),
    callerOf(caller, identity, authorityOf(identity, name as OperationName)),
  ];
}

function wireAsCaller(name: OperationName, wire: unknown, identity: Identity): unknown {
  const keys = operationNamed(name)?.keys;
  if (keys === undefined || !Array.isArray(wire) || wire.length > keys.length) return wire;
  const input = Object.fromEntries(keys.map((key, index) => [key, wire[index] as unknown]));
  const checked = asCaller(name, input, identity);
  return checked === input ? wire : keys.map((key) => checked[key]);
}

/** Returns the caller. The name and the token are the sender's own, also the name to which an idempotency key belongs. */
function callerOf(caller: unknown, { actor, scopes }: Identity, tokenId: string | undefined): unknown {
  if (scopes.includes("admin") && (actor === undefined || (Array.isArray(caller) && caller[0] !== undefined)))
    return caller;
  if (!Array.isArray(caller)) return [actor, undefined, undefined, undefined, undefined, undefined, tokenId];
  const [, requestId, key, request, envelope, traceparent] = caller as readonly unknown[];
  const own = Array.isArray(envelope) ? [actor, ...envelope.slice(1)] : envelope;
  return [actor, requestId, key, request, own, traceparent, tokenId];
}
