// The lease of upkeep: of several servers of one database, one prunes at a time, and another takes over when it has gone.
// A step that writes takes or renews the lease in its own transaction, so an idle store is not written to.
import type { Context } from "../context.ts";
import { change, first, forUpdate, sql, step } from "../sql.ts";

interface UpkeepLease {
  readonly owner: string;
  /** Grows with each owner. */
  readonly fence: number;
  readonly ttlMs: number;
  readonly expiresAtMs: number;
}

/** Returns true when a server other than `owner` has the lease. */
export const isHeldByAnother = step(function* (owner: string, context: Context) {
  const row = yield* first<{ value: string }>(sql`SELECT value FROM store_meta WHERE key = 'upkeep_lease'`);
  return row !== undefined && isHeld(JSON.parse(row.value) as UpkeepLease, owner, context);
});

function isHeld(lease: UpkeepLease, owner: string, { now }: Context): boolean {
  const leftMs = lease.expiresAtMs - now.getTime();
  // More than its length is left of a lease from before the clock was set back.
  return lease.owner !== owner && leftMs > 0 && leftMs <= lease.ttlMs;
}

/**
 * Takes the lease, or renews it when less than half of it is left. Returns false when another server has it. Until the
 * transaction ends, no other server can take it.
 */
export const takeUpkeepLease = step(function* (owner: string, context: Context) {
  const { now, limits } = context;
  const ttlMs = limits.pruneLeaseMs;
  const lease = { owner, fence: 1, ttlMs, expiresAtMs: now.getTime() + ttlMs } satisfies UpkeepLease;
  const row = yield* first<{ value: string }>(
    sql`SELECT value FROM store_meta WHERE key = 'upkeep_lease' ${forUpdate}`,
  );
  if (row === undefined)
    return (
      (yield* change(sql`
        INSERT INTO store_meta (
          key,
          value
        ) VALUES (
          'upkeep_lease',
          ${JSON.stringify(lease)}
        )
        ON CONFLICT (key) DO NOTHING`)) > 0
    );
  const held = JSON.parse(row.value) as UpkeepLease;
  if (isHeld(held, owner, context)) return false;
  const leftMs = held.expiresAtMs - now.getTime();
  if (held.owner === owner && leftMs > ttlMs / 2 && leftMs <= ttlMs) return true;
  const next = { ...lease, fence: held.owner === owner ? held.fence : held.fence + 1 };
  yield* change(sql`UPDATE store_meta SET value = ${JSON.stringify(next)} WHERE key = 'upkeep_lease'`);
  return true;
});
