// The rows of environments: grants and ends of the lease under which one is built, uses by sessions, and removal with what
// was built. Whoever changes which environments of a place are ready also changes what is counted of the place.
import type { Context } from "../context.ts";
import type { EnvironmentRow } from "../model/environments.ts";
import { newId } from "../model/ids.ts";
import { all, change, first, type Statement, skipLocked, sql, step } from "../sql.ts";
import { leaseLost } from "./failures.ts";
import { discardFile } from "./fileState.ts";
import { writeRow } from "./rowWrite.ts";
import { environmentTopic } from "./topics.ts";

/** The columns of the lease of an environment that nobody builds. */
const noLease = { lease_runner_id: null, lease_owner: null, leased_at: null, lease_expires_at: null } as const;

/** Writes changed columns of an environment, raises its version, and adds a row to the change feed. */
export const saveEnvironment = step(function* (
  before: EnvironmentRow,
  changes: Partial<EnvironmentRow>,
  op: string,
  context: Context,
  more: { readonly sessionId?: string | undefined; readonly reason?: string | undefined } = {},
) {
  const row = yield* writeRow<EnvironmentRow>("environment", before, changes, context);
  const { id, version, fence, state, uri, size_bytes } = row;
  const { sessionId, reason } = more;
  const detail = { state, uri: uri ?? undefined, sizeBytes: size_bytes ?? undefined, reason };
  context.changed({ entity: "environment", id, op, version, fence, sessionId, detail });
  return row;
});

/** Fails with `lease_lost` unless the environment is built under this fence. The time does not matter (D-081). */
export function requireBuilder(row: EnvironmentRow, fence: number): void {
  if (row.fence !== fence || row.lease_expires_at === null) leaseLost(row, fence);
}

/** Ends the building of an environment without a result. Whoever waits for it comes to build it. */
export const failBuilding = step(function* (
  before: EnvironmentRow,
  op: "fail" | "expire",
  reason: string | undefined,
  context: Context,
) {
  const changes = { state: "failed", ...noLease, failures: before.failures + 1, last_error: reason ?? null } as const;
  const row = yield* saveEnvironment(before, changes, op, context, { reason });
  context.wake(environmentTopic(row.id));
  return row;
});

/** Ends the building of an environment with what was built. */
export const finishBuilding = step(function* (
  before: EnvironmentRow,
  built: { readonly uri: string; readonly sizeBytes: number },
  context: Context,
) {
  const at = context.now.getTime();
  const { uri, sizeBytes: size_bytes } = built;
  const changes = { state: "ready", ...noLease, uri, size_bytes, ready_at: at, failures: 0, last_error: null } as const;
  const row = yield* saveEnvironment(before, { ...changes, last_used_at: at }, "ready", context);
  yield* change(sql`
    INSERT INTO environment_places (id, place, environment_count, size_bytes)
    VALUES (${newId()}, ${row.place}, 1, ${size_bytes})
    ON CONFLICT (place) DO UPDATE SET
      environment_count = environment_places.environment_count + 1,
      size_bytes = environment_places.size_bytes + excluded.size_bytes`);
  context.wake(environmentTopic(row.id));
  return row;
});

interface Expiry {
  readonly limit: number;
  /** The runner whose leases end. All runners by default. */
  readonly runnerId?: string;
  readonly reason?: string;
}

/** Ends at most `limit` expired leases, and returns the ids of the environments. Never waits for a lock (D-030). */
export const expireEnvironmentLeases = step(function* (
  context: Context,
  { limit, runnerId, reason = "lease_expired" }: Expiry,
) {
  const ofHolder = runnerId === undefined ? sql`TRUE` : sql`(lease_runner_id = ${runnerId}) IS TRUE`;
  const expired = yield* all<EnvironmentRow>(sql`
    SELECT * FROM environments
    WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ${context.now} AND ${ofHolder}
    ORDER BY lease_expires_at LIMIT ${limit} ${skipLocked}`);
  for (const row of expired) yield* failBuilding(row, "expire", reason, context);
  return expired.map(({ id }) => id);
});

/** The condition of environments that a session uses: an open one, or one whose command still runs. */
export const isEnvironmentUsed = sql`
  EXISTS (
    SELECT 1 FROM sessions
    WHERE sessions.environment_id = environments.id AND environment_id IS NOT NULL
      AND (ended_at IS NULL OR active_commands > 0)
  )`;

/** The condition of environments that stay. */
export const isEnvironmentKept = sql`(state = 'building' OR pinned OR ${isEnvironmentUsed})`;

/** Returns the size of all that is ready in a place. */
export const sizeOfPlace = step(function* (place: string) {
  const row = yield* first<{ size_bytes: number }>(
    sql`SELECT size_bytes FROM environment_places WHERE place = ${place}`,
  );
  return row?.size_bytes ?? 0;
});

/**
 * Removes locked environments that fulfill a condition, and hands out what was built, each with a row of changes. A session
 * that comes to use one takes the same lock.
 */
export const removeEnvironments = step(function* (
  condition: Statement,
  reason: "evicted" | "expired" | undefined,
  context: Context,
) {
  const rows = yield* all<EnvironmentRow>(sql`DELETE FROM environments WHERE ${condition} RETURNING *`);
  for (const { id, place, state, uri, size_bytes, fence, version } of rows) {
    context.counted("environment", state, undefined);
    const detail = { place, uri: uri ?? undefined, sizeBytes: size_bytes ?? undefined, reason };
    context.changed({ entity: "environment", id, op: "delete", version: version + 1, fence, detail });
    if (uri === null) continue;
    yield* discardFile({ id, kind: "environment", place, uri, size_bytes }, context);
    yield* change(sql`
      UPDATE environment_places SET
        environment_count = environment_count - 1,
        size_bytes = size_bytes - ${size_bytes}
      WHERE place = ${place}`);
    // Names of machines that are gone would be kept for ever.
    yield* change(sql`DELETE FROM environment_places WHERE place = ${place} AND environment_count = 0`);
  }
  return rows;
});
