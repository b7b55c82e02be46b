// The calls that may be sent again when nobody knows whether they ran: reads, what is harmless to repeat, and calls with an
// idempotency key. Other writes get a key before they are sent for the first time.
import { createHash, randomUUID } from "node:crypto";
import { operations } from "../operations/table.ts";
import { callWidth, type Envelope } from "../wire.ts";

/**
 * The writes that need no key: a fencing token, an offset or a number of their input makes their repetition harmless, or
 * what they took is given back when its lease ends. They are most of what a runner sends, and a key stores each answer.
 */
const harmless: ReadonlySet<string> = new Set([
  "logs.append",
  "logs.archive",
  "commands.claim",
  "commands.finish",
  "commands.handBack",
  "runners.register",
  "runners.heartbeat",
  "runners.drain",
  "worktrees.ready",
  "worktrees.renew",
  "worktrees.release",
  "worktrees.completeEvict",
  "sessions.touch",
  "tokens.revoke",
  "changes.checkpoint",
  "files.claim",
  "files.acknowledge",
  "files.fail",
  "debug.putStop",
  "debug.request",
  "debug.reply",
  "debug.cancelRequest",
  "maintenance.reap",
]);

/** Returns how an operation accesses the store, and whether it may wait; undefined when there is none of this name. */
export function operationNamed(name: string): { readonly access: string; readonly waits: boolean } | undefined {
  const [entity = "", verb = ""] = name.split(".");
  const verbs = Object.hasOwn(operations, entity) ? operations[entity as keyof typeof operations] : {};
  return Object.hasOwn(verbs, verb)
    ? (verbs as Readonly<Record<string, { access: string; waits: boolean }>>)[verb]
    : undefined;
}

/** Returns the names of the calls of an envelope. */
export function namesIn([, , calls]: Envelope): readonly string[] {
  return calls.filter((_, index) => index % callWidth === 0) as string[];
}

export function isReading(name: string): boolean {
  return operationNamed(name)?.access === "read";
}

const seqAt = operations.debug.applyEvent.keys.indexOf("seq");

/** Checks whether a write may be repeated without a key. An event of a debugger has to have a number for that. */
function isHarmless(name: string, input: unknown): boolean {
  if (name === "debug.applyEvent") return Array.isArray(input) && Number(input[seqAt]) > 0;
  return harmless.has(name);
}

/**
 * Checks whether a write wants a key. The answer to one that makes the secret of a token is stored without the secret, so
 * a key would hide that it ran: such a call fails, and its outcome is unknown.
 */
function wantsKey(name: string, input: unknown): boolean {
  return operationNamed(name)?.access === "write" && !isHarmless(name, input) && !name.startsWith("tokens.");
}

type WireCaller = readonly unknown[] | undefined;

/** Returns the envelope with a key for each call that wants one and has none; for an atomic one, a key of its own. */
export function withKeys(envelope: Envelope): Envelope {
  const [id, isAtomic, calls] = envelope;
  const names = namesIn(envelope);
  if (isAtomic) {
    const [actor, requestId, key, request, own, ...rest] = (calls[2] as WireCaller) ?? [];
    const hasKeys = own !== undefined || names.some((_, index) => keyOf(calls, index) !== undefined);
    const wantOne = names.some((name, index) => wantsKey(name, inputOf(calls, index)));
    if (hasKeys || !wantOne || names.some((name) => name.startsWith("tokens."))) return envelope;
    return [id, isAtomic, calls.with(2, [actor, requestId, key, request, [actor, ...newKey()], ...rest])];
  }
  const lacksKey = (name: string, index: number) =>
    wantsKey(name, inputOf(calls, index)) && keyOf(calls, index) === undefined;
  if (!names.some(lacksKey)) return envelope;
  const keyed = [...calls];
  for (const [index, name] of names.entries()) {
    if (!lacksKey(name, index)) continue;
    const at = index * callWidth + 2;
    const [actor, requestId, , , , ...rest] = (calls[at] as WireCaller) ?? [];
    keyed[at] = [actor, requestId, ...newKey(), undefined, ...rest];
  }
  return [id, isAtomic, keyed];
}

function inputOf(calls: readonly unknown[], index: number): unknown {
  return calls[index * callWidth + 1];
}

function keyOf(calls: readonly unknown[], index: number): unknown {
  return (calls[index * callWidth + 2] as WireCaller)?.[2];
}

/** A key, and the hash of the request that it stands for: nobody else has this key. */
function newKey(): readonly [key: string, request: string] {
  const key = `remote-${randomUUID()}`;
  return [key, createHash("sha256").update(key).digest("hex")];
}

/**
 * Checks whether a call that may have run can be sent again. `keysLast` says that the store still has the answers that it
 * keeps for keys.
 */
export function isRepeatable([, isAtomic, calls]: Envelope, slot: number, keysLast: boolean): boolean {
  const names = namesIn([0, isAtomic, calls]);
  const isSafe = (index: number) =>
    (keysLast && keyOf(calls, index) !== undefined) ||
    isReading(names[index] as string) ||
    isHarmless(names[index] as string, inputOf(calls, index));
  if (!isAtomic) return isSafe(slot);
  return (keysLast && (calls[2] as WireCaller)?.[4] !== undefined) || names.every((_, index) => isSafe(index));
}
