// Environments: what is built from the dependencies of a repository, once for each hash and place. Whoever acquires one that is
// not there gets the lease to build it; the others wait. The store only keeps records: the builder installs, and says
// where.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { StoreError } from "../errors.ts";
import { boolean, page, record } from "../model/codec.ts";
import { AcquiredEnvironment, Environment, type EnvironmentRow } from "../model/environments.ts";
import {
  Fence,
  Hash,
  Id,
  LeaseTtl,
  listInput,
  NewId,
  oneOrMore,
  Reason,
  Version,
  WaitMs,
  withoutControls,
} from "../model/fields.ts";
import { PlaceName } from "../model/places.ts";
import type { SessionRow } from "../model/sessions.ts";
import { environmentStates } from "../model/vocabulary.ts";
import { fail as failCall, NotYet, operation } from "../operation.ts";
import { type Body, first, forUpdate, sql, step } from "../sql.ts";
import {
  failBuilding,
  finishBuilding,
  removeEnvironments,
  requireBuilder,
  saveEnvironment,
} from "./environmentState.ts";
import { invalidTransition } from "./failures.ts";
import { reclaimFile } from "./fileState.ts";
import { filter, listPage } from "./paging.ts";
import { lockActiveRepository } from "./repositories.ts";
import { holderFields, holderRule, namesHolder, resolveHolder } from "./reservation.ts";
import { getRow, lockRow } from "./rows.ts";
import { insertRows, writeRow } from "./rowWrite.ts";
import { keepLockedSessionActive } from "./sessionActivity.ts";
import { lockOpenSession, saveSession } from "./sessionState.ts";
import { environmentTopic } from "./topics.ts";
import { requireVersion } from "./versions.ts";

/** The fields that identify a lease. */
const leaseKey = { environmentId: Id, fence: Fence };

const AcquireInput = z
  .strictObject({
    id: NewId,
    repositoryId: Id,
    hash: Hash,
    ...holderFields,
    sessionId: Id.optional(),
    ttlMs: LeaseTtl.default(60_000),
    waitMs: WaitMs.default(0),
  })
  .refine(namesHolder, holderRule);
type Acquisition = z.output<typeof AcquireInput>;

/**
 * Returns an environment that is ready, or the lease to build it: when there is none with this hash in the place, when the
 * last attempt to build it has failed, or when the lease of its builder has expired. While another one builds it, the call
 * waits until it is ready, has failed, or its lease ends. So it is never built twice at once.
 *
 * Input    hash: of the dependencies, of their platform, and of whatever else makes a difference; the store only
 *          compares it. runnerId, owner, place: as in worktrees.reserve; an environment on a disk is in the place of its
 *          builder, and one that every machine can fetch is in the place "". sessionId: the session that uses the
 *          environment, which is not evicted while the session is open or has active commands. A session uses one
 *          environment at a time. ttlMs: the time in which the builder renews the lease or reports a result. waitMs: the
 *          time to wait for another builder
 * Result   { environment, lease }. Without a lease the environment is ready at its uri. With a lease, build it under a
 *          name of its own, such as its id and the fence, because an earlier builder may still be writing; then call ready
 *          or fail with the fence
 * Fails    not_found | invalid_transition when the repository is archived or the session has ended
 *          | conflict { reason: "repository" } when the session belongs to another repository
 *          | conflict { reason: "exists" } | deadline_exceeded { environmentId, owner, leaseExpiresAt } when another one
 *          still builds it after waitMs
 * Effect   a use of a ready environment: the time and number of its uses, and no row of changes. A lease: one row of
 *          environments, one row of changes. For a session that used another environment before, one row of each too
 * Cost     at most 9 statements by key
 */
export const acquire = operation({
  access: "write",
  input: AcquireInput,
  output: AcquiredEnvironment,
  errors: ["not_found", "invalid_transition", "conflict"],
  waitMs: (input) => input.waitMs,
  *run(input, context) {
    return yield* acquireEnvironment(input, context);
  },
});

/** The answer of a call that acquires an environment. */
type Acquired = { environment: EnvironmentRow; lease: { fence: number; expiresAt: number } | null };

const acquireEnvironment = step(function* (input: Acquisition, context: Context): Body<Acquired | NotYet<StoreError>> {
  const { repositoryId, hash, sessionId } = input;
  yield* lockActiveRepository(repositoryId);
  const holder = yield* resolveHolder(input);
  const session = sessionId === undefined ? undefined : yield* lockOpenSession(sessionId);
  if (session !== undefined && session.repository_id !== repositoryId) {
    const message = `session ${session.id} belongs to repository ${session.repository_id}, not ${repositoryId}`;
    failCall("conflict", { reason: "repository" }, message);
  }
  const known = yield* first<EnvironmentRow>(sql`
    SELECT * FROM environments
    WHERE repository_id = ${repositoryId} AND place = ${holder.place} AND hash = ${hash}
    ${forUpdate}`);
  const at = context.now.getTime();
  if (known?.state === "ready") {
    const used = { last_used_at: at, use_count: known.use_count + 1 };
    const environment = yield* writeRow<EnvironmentRow>("environment", known, used, context, 0);
    yield* bindSession(session, environment.id, context);
    return { environment, lease: null };
  }
  if (known !== undefined && known.lease_expires_at !== null && known.lease_expires_at > at)
    return notReady(known, known.lease_expires_at - at);
  const lease = {
    lease_runner_id: holder.runnerId,
    lease_owner: holder.owner,
    leased_at: at,
    lease_expires_at: at + input.ttlMs,
  };
  const granted =
    known === undefined
      ? yield* insertEnvironment(input, holder.place, lease, context)
      : yield* saveEnvironment(
          known,
          { state: "building", fence: known.fence + 1, ...lease, last_used_at: at, use_count: known.use_count + 1 },
          "build",
          context,
          { sessionId },
        );
  yield* bindSession(session, granted.id, context);
  return { environment: granted, lease: { fence: granted.fence, expiresAt: lease.lease_expires_at } };
});

/** Notes that a session uses an environment. */
const bindSession = step(function* (session: SessionRow | undefined, environmentId: string, context: Context) {
  if (session === undefined) return;
  if (session.environment_id === environmentId) yield* keepLockedSessionActive(session, context);
  else yield* saveSession(session, { environment_id: environmentId }, context, "use_environment");
});

/** Returns the answer of a call that found an environment which another one builds. */
function notReady({ id, lease_owner, lease_expires_at }: EnvironmentRow, againMs: number): NotYet<StoreError> {
  const leaseExpiresAt = new Date(lease_expires_at as number);
  const message = `environment ${id} is being built by ${lease_owner} until ${leaseExpiresAt.toISOString()}: wait for it (waitMs)`;
  const details = { environmentId: id, owner: lease_owner, leaseExpiresAt };
  return new NotYet([environmentTopic(id)], new StoreError("deadline_exceeded", message, { details }), { againMs });
}

type LeaseColumns = Pick<EnvironmentRow, "lease_runner_id" | "lease_owner" | "leased_at" | "lease_expires_at">;

/** Adds an environment that its first holder builds. The lock of the repository keeps others from adding the same one. */
const insertEnvironment = step(function* (
  { id, repositoryId, hash, sessionId }: Acquisition,
  place: string,
  lease: LeaseColumns,
  context: Context,
) {
  const at = context.now.getTime();
  const row: EnvironmentRow = {
    id,
    repository_id: repositoryId,
    place,
    hash,
    state: "building",
    uri: null,
    size_bytes: null,
    pinned: 0,
    fence: 1,
    ...lease,
    ready_at: null,
    failures: 0,
    last_error: null,
    last_used_at: at,
    use_count: 1,
    version: 1,
    created_at: at,
    updated_at: at,
  };
  if (!(yield* insertRows("environment", [row], context)))
    failCall("conflict", { reason: "exists", environmentId: id }, `environment ${id} exists already`);
  const detail = { place, hash, owner: lease.lease_owner };
  context.changed({ entity: "environment", id, op: "create", version: 1, fence: 1, sessionId, detail });
  return row;
});

/**
 * Extends the lease of the builder, even one whose time has passed, as long as nobody else has it.
 *
 * Input    ttlMs: the time until the lease expires, in milliseconds from now
 * Fails    not_found | lease_lost { currentFence }
 * Effect   lease_expires_at of one row; no row of changes
 * Cost     1 statement by primary key; lane urgent
 */
export const renew = operation({
  access: "write",
  lane: "urgent",
  input: z.strictObject({ ...leaseKey, ttlMs: LeaseTtl.default(60_000) }),
  output: Environment,
  errors: ["not_found", "lease_lost"],
  *run({ environmentId, fence, ttlMs }, { now }) {
    // A renewal does not count as a change, so the version stays (D-029).
    const row = yield* first<EnvironmentRow>(sql`
      UPDATE environments SET lease_expires_at = ${after(now, ttlMs)}
      WHERE id = ${environmentId} AND fence = ${fence} AND lease_expires_at IS NOT NULL
      RETURNING *`);
    if (row !== undefined) return row;
    const other = yield* lockRow("environment", environmentId);
    requireBuilder(other, fence);
    return other;
  },
});

/**
 * Reports that the environment is built: it is ready for all, and those who wait for it get it. Repeating the call changes
 * nothing, whatever it reports.
 *
 * Input    uri: where it is, such as a file URI of its folder, or of an archive of it. It must not contain credentials.
 *          sizeBytes: its size, which counts for environments.evict
 * Fails    not_found | lease_lost { currentFence } | conflict { reason: "discarded" } when a collector is removing what
 *          was at this uri
 */
export const ready = operation({
  access: "write",
  input: z.strictObject({ ...leaseKey, uri: withoutControls(4_096), sizeBytes: z.int().min(0) }),
  output: Environment,
  errors: ["not_found", "lease_lost", "conflict"],
  *run({ environmentId, fence, ...built }, context) {
    const before = yield* lockRow("environment", environmentId);
    if (before.fence === fence && before.state === "ready") return before;
    requireBuilder(before, fence);
    yield* reclaimFile({ uri: built.uri, place: before.place }, context);
    return yield* finishBuilding(before, built, context);
  },
});

export { failBuild as fail };

/**
 * Reports that the environment could not be built, or gives the lease back. One of those who wait for it gets the lease.
 * What the builder has left behind is its own to remove. Repeating the call changes nothing.
 *
 * Input    reason: why, for people
 * Fails    not_found | lease_lost { currentFence }
 */
const failBuild = operation({
  access: "write",
  input: z.strictObject({ ...leaseKey, reason: Reason.optional() }),
  output: Environment,
  errors: ["not_found", "lease_lost"],
  *run({ environmentId, fence, reason }, context) {
    const before = yield* lockRow("environment", environmentId);
    if (before.fence === fence && before.state === "failed") return before;
    requireBuilder(before, fence);
    return yield* failBuilding(before, "fail", reason, context);
  },
});

/**
 * Pins an environment: until it is unpinned it is neither evicted, nor deleted, nor removed by retention. Repeating the call
 * changes nothing.
 *
 * Input    pinned: false removes the pin
 * Fails    not_found | conflict { reason: "version" }
 */
export const pin = operation({
  access: "write",
  input: z.strictObject({ environmentId: Id, pinned: z.boolean().default(true), expectedVersion: Version.optional() }),
  output: Environment,
  errors: ["not_found", "conflict"],
  *run({ environmentId, pinned, expectedVersion }, context) {
    const before = yield* lockRow("environment", environmentId);
    if ((before.pinned === 1) === pinned) return before;
    requireVersion(before, expectedVersion);
    return yield* saveEnvironment(before, { pinned: Number(pinned) }, pinned ? "pin" : "unpin", context);
  },
});

/**
 * Returns one environment.
 *
 * Fails    not_found
 * Cost     1 statement by primary key
 */
export const get = operation({
  access: "read",
  input: z.strictObject({ environmentId: Id }),
  output: Environment,
  errors: ["not_found"],
  *run({ environmentId }) {
    return yield* getRow("environment", environmentId);
  },
});

/**
 * Lists environments. A row must match all filters that are present.
 *
 * Cost     1 statement along an index. With more than one filter, 2 statements that read at most 5 000 rows
 */
export const list = operation({
  access: "read",
  input: listInput("environment", {
    repositoryId: Id.optional(),
    place: PlaceName.optional(),
    state: oneOrMore(environmentStates),
  }),
  output: page(Environment),
  errors: [],
  *run(input) {
    return yield* listPage("environment", input, {
      filters: {
        repository: filter(sql`repository_id`, input.repositoryId),
        place: filter(sql`place`, input.place),
        state: filter(sql`state`, input.state),
      },
      indexes: [["repository"], ["place"], ["state"]],
    });
  },
});

export { remove as delete };

/**
 * Deletes an environment that nobody builds or uses. A collector gets what was built (files.claim). Deleting one that does
 * not exist succeeds.
 *
 * Fails    invalid_transition while it is being built | conflict { reason: "pinned" | "version" }
 *          | conflict { reason: "used", sessionId } while a session uses it
 * Effect   one row of changes, whose detail has the uri
 */
const remove = operation({
  access: "write",
  input: z.strictObject({ environmentId: Id, expectedVersion: Version.optional() }),
  output: record({ deleted: boolean }),
  errors: ["conflict", "invalid_transition"],
  *run({ environmentId, expectedVersion }, context) {
    const before = yield* first<EnvironmentRow>(
      sql`SELECT * FROM environments WHERE id = ${environmentId} ${forUpdate}`,
    );
    if (before === undefined) return { deleted: 1 };
    requireVersion(before, expectedVersion);
    const { state, pinned } = before;
    if (state === "building")
      invalidTransition("environment", state, `environment ${environmentId} is being built: wait for it`);
    if (pinned === 1)
      failCall(
        "conflict",
        { reason: "pinned", environmentId },
        `environment ${environmentId} is pinned: unpin it first`,
      );
    const user = yield* first<{ id: string }>(sql`
      SELECT id FROM sessions
      WHERE environment_id = ${environmentId} AND environment_id IS NOT NULL
        AND (ended_at IS NULL OR active_commands > 0)
      LIMIT 1`);
    if (user !== undefined)
      failCall(
        "conflict",
        { reason: "used", sessionId: user.id },
        `session ${user.id} uses environment ${environmentId}`,
      );
    yield* removeEnvironments(sql`id = ${environmentId}`, undefined, context);
    return { deleted: 1 };
  },
});
