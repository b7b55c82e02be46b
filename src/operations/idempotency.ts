// Idempotency keys: a call that is made again with the key of an earlier one is given the earlier one's reply.
import type { Idempotency } from "../caller.ts";
import type { Context } from "../context.ts";
import { fail } from "../operation.ts";
import { all, change, first, skipLocked, sql, step } from "../sql.ts";

/** A key belongs to an actor and an operation: two callers that choose the same one do not meet. */
export interface KeyedRequest extends Idempotency {
  readonly operation: string;
  readonly actor: string;
  /** Names the fields of the reply and their order, by which it is stored: another release may have others (D-055). */
  readonly shape: string;
}

/**
 * The stored reply, or undefined when the call is to run. The key is taken first, by one statement (D-053): of two transactions that bring the same
 * one, the second waits until the first has ended.
 *
 * Fails    idempotency_mismatch when the key stands for another request | idempotency_mismatch { reason: "release" } when a release stored the reply whose
 *          results have another shape: to read it would give fields each other's values, and to run the call again would run it twice
 */
export const claimKey = step(function* (
  { operation, actor, key, request, shape }: KeyedRequest,
  { now, limits }: Context,
) {
  const expiresAt = new Date(now.getTime() + limits.idempotencyMs);
  const taken = yield* change(sql`
    INSERT INTO idempotency_keys (operation, actor, key, request_sha256, expires_at) VALUES (${operation}, ${actor}, ${key}, ${request}, ${expiresAt})
    ON CONFLICT (operation, actor, key) DO UPDATE SET request_sha256 = excluded.request_sha256, reply = NULL, expires_at = excluded.expires_at
    WHERE idempotency_keys.expires_at <= ${now}`);
  if (taken > 0) return undefined;
  const stored = yield* first<{ request_sha256: string; reply: string }>(sql`
    SELECT request_sha256, reply FROM idempotency_keys WHERE operation = ${operation} AND actor = ${actor} AND key = ${key}`);
  if (stored?.request_sha256 !== request) fail("idempotency_mismatch");
  if (!stored.reply.startsWith(`${shape} `))
    fail("idempotency_mismatch", { reason: "release" }, "the call has run, and another release stored its answer");
  return { reply: parseReply(stored.reply.slice(shape.length + 1)) };
});

export const storeReply = step(function* ({ operation, actor, key, shape }: KeyedRequest, reply: unknown) {
  yield* change(sql`
    UPDATE idempotency_keys SET reply = ${`${shape} ${formatReply(reply)}`} WHERE operation = ${operation} AND actor = ${actor} AND key = ${key}`);
});

/** The call has no reply yet: its key stands for nothing. */
export const releaseKey = step(function* ({ operation, actor, key }: KeyedRequest) {
  yield* change(sql`DELETE FROM idempotency_keys WHERE operation = ${operation} AND actor = ${actor} AND key = ${key}`);
});

/** How many keys were removed because their time is over, at most so many. */
export const expireKeys = step(function* (limit: number, { now }: Context) {
  const rows = yield* all<{ operation: string; actor: string; key: string }>(sql`
    SELECT operation, actor, key FROM idempotency_keys WHERE expires_at <= ${now} ORDER BY expires_at LIMIT ${limit} ${skipLocked}`);
  for (const { operation, actor, key } of rows) {
    yield* change(
      sql`DELETE FROM idempotency_keys WHERE operation = ${operation} AND actor = ${actor} AND key = ${key}`,
    );
  }
  return rows.length;
});

/** Replies are lists of plain values, so an object can stand for the one value that JSON does not know. */
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
