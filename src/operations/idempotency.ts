// Idempotency keys: a call that is repeated with the key of an earlier call gets the reply of the earlier call, and
// runs once. A key is taken, used and given its reply in the transaction of the call, so a key without its effect, or
// an effect without its key, does not exist.
import type { Idempotency } from "../caller.ts";
import type { Context } from "../context.ts";
import { fail } from "../operation.ts";
import { all, change, first, skipLocked, sql, step } from "../sql.ts";

/** A key and the request it stands for. A key belongs to an actor and an operation, so equal keys of others differ. */
export interface KeyedRequest extends Idempotency {
  readonly operation: string;
  readonly actor: string;
  /**
   * The names and the order of the reply's fields. Replies are stored by that order, and releases differ in it (D-055).
   */
  readonly shape: string;
}

/**
 * Takes the key, or returns the reply that is stored under it. Returns undefined when the call is to run.
 *
 * Fails    idempotency_mismatch when the key stands for another request | idempotency_mismatch { reason: "release" }
 *          when another release stored the reply in another shape: its fields cannot be read, and the call must not run
 *          twice
 */
export const claimKey = step(function* (
  { operation, actor, key, request, shape }: KeyedRequest,
  { now, limits }: Context,
) {
  const expiresAt = new Date(now.getTime() + limits.idempotencyMs);
  // One statement takes the key (D-053): of two transactions with the same key, the second waits here until the first
  // has ended, and then finds its reply. A key that has expired is taken as if it were new.
  const takenCount = yield* change(sql`
    INSERT INTO idempotency_keys (
      operation,
      actor,
      key,
      request_sha256,
      expires_at
    ) VALUES (
      ${operation},
      ${actor},
      ${key},
      ${request},
      ${expiresAt}
    )
    ON CONFLICT (operation, actor, key) DO UPDATE SET
      request_sha256 = excluded.request_sha256,
      reply = NULL,
      expires_at = excluded.expires_at
    WHERE idempotency_keys.expires_at <= ${now}`);
  if (takenCount > 0) return undefined;
  const stored = yield* first<{ request_sha256: string; reply: string }>(sql`
    SELECT request_sha256, reply FROM idempotency_keys
    WHERE operation = ${operation} AND actor = ${actor} AND key = ${key}`);
  if (stored?.request_sha256 !== request) fail("idempotency_mismatch");
  if (!stored.reply.startsWith(`${shape} `)) {
    const message = "the call has run already, and another release stored its reply in another shape";
    fail("idempotency_mismatch", { reason: "release" }, message);
  }
  return { reply: parseReply(stored.reply.slice(shape.length + 1)) };
});

/** Stores the reply of the call that took the key. */
export const storeReply = step(function* ({ operation, actor, key, shape }: KeyedRequest, reply: unknown) {
  yield* change(sql`
    UPDATE idempotency_keys SET reply = ${`${shape} ${formatReply(reply)}`}
    WHERE operation = ${operation} AND actor = ${actor} AND key = ${key}`);
});

/** Gives up the key of a call that has no reply yet, so that the key can be taken again. */
export const releaseKey = step(function* ({ operation, actor, key }: KeyedRequest) {
  yield* change(sql`DELETE FROM idempotency_keys WHERE operation = ${operation} AND actor = ${actor} AND key = ${key}`);
});

/** Deletes at most `limit` keys whose time has passed, and returns their number. */
export const expireKeys = step(function* (limit: number, { now }: Context) {
  const rows = yield* all<{ operation: string; actor: string; key: string }>(sql`
    SELECT operation, actor, key FROM idempotency_keys
    WHERE expires_at <= ${now}
    ORDER BY expires_at LIMIT ${limit} ${skipLocked}`);
  for (const { operation, actor, key } of rows) {
    yield* change(
      sql`DELETE FROM idempotency_keys WHERE operation = ${operation} AND actor = ${actor} AND key = ${key}`,
    );
  }
  return rows.length;
});

/** The stand-in for undefined, which JSON lacks. Replies are lists of plain values, so no reply contains an object. */
const absent = { undefined: true };

function formatReply(reply: unknown): string {
  return JSON.stringify(reply === undefined ? absent : reply, (_, value: unknown) =>
    value === undefined ? absent : value,
  );
}

function parseReply(stored: string): unknown {
  return restored(JSON.parse(stored));
}

function restored(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(restored);
  return typeof value === "object" && value !== null ? undefined : value;
}
