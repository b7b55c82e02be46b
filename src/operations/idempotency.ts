// Idempotency keys: a call that repeats the key of an earlier call does not run, but gets the reply of the earlier
// call. A key is claimed, and its reply stored, in the transaction of the call, so there is never a key without the
// effect of its call, nor an effect without its key.
import type { Idempotency } from "../caller.ts";
import type { Context } from "../context.ts";
import { fail } from "../operation.ts";
import { all, change, first, skipLocked, sql, step } from "../sql.ts";

/** A key and the request that it stands for. Actors and operations have separate keys. */
export interface KeyedRequest extends Idempotency {
  readonly operation: string;
  readonly actor: string;
  /**
   * The names and the order of the reply's fields. A stored reply has only values in that order, which differs between
   * releases (D-055).
   */
  readonly shape: string;
}

/**
 * Claims the key and returns undefined, so that the call runs; or returns the reply that is stored under the key.
 *
 * Fails    idempotency_mismatch when the key stands for another request | idempotency_mismatch { reason: "release" }
 *          when another release stored the reply in another shape: it cannot be read, and the call must not run twice
 */
export const claimKey = step(function* (
  { operation, actor, key, request, shape }: KeyedRequest,
  { now, limits }: Context,
) {
  const expiresAt = new Date(now.getTime() + limits.idempotencyMs);
  // One statement claims the key (D-053): of two transactions with the same key, the second waits here until the first
  // has ended, and then finds its reply. An expired key is claimed as if it were new.
  const claimedKeys = yield* change(sql`
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
  if (claimedKeys > 0) return undefined;
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

/** Stores the reply of the call that claimed the key. */
export const storeReply = step(function* ({ operation, actor, key, shape }: KeyedRequest, reply: unknown) {
  yield* change(sql`
    UPDATE idempotency_keys SET reply = ${`${shape} ${formatReply(reply)}`}
    WHERE operation = ${operation} AND actor = ${actor} AND key = ${key}`);
});

/** Releases a key that has no reply, so that it can be claimed again. */
export const releaseKey = step(function* ({ operation, actor, key }: KeyedRequest) {
  yield* change(sql`DELETE FROM idempotency_keys WHERE operation = ${operation} AND actor = ${actor} AND key = ${key}`);
});

/** Deletes at most `limit` expired keys, and returns their number. */
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
  return JSON.stringify(reply, (_, value: unknown) => (value === undefined ? absent : value));
}

function parseReply(stored: string): unknown {
  return restoreAbsent(JSON.parse(stored));
}

function restoreAbsent(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(restoreAbsent);
  return typeof value === "object" && value !== null ? undefined : value;
}
