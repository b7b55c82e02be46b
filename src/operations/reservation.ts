// Who gets which tree: the holder, the search for one that fits, and the grant.
import { z } from "zod";
import type { Context } from "../context.ts";
import { StoreError } from "../errors.ts";
import { Hash, Id, LeaseTtl, Name, NewId, Path } from "../model/fields.ts";
import type { SessionRow } from "../model/sessions.ts";
import type { matches, WorktreeRow } from "../model/worktrees.ts";
import { after, fail, NotYet } from "../operation.ts";
import { and, change, first, forUpdate, one, skipLocked, sql, step, when } from "../sql.ts";
import { requireState } from "./failures.ts";
import { lockActiveRepository } from "./repositories.ts";
import { lockRow } from "./rows.ts";
import { lockRunner } from "./runners.ts";
import { bindWorktree } from "./sessionState.ts";
import { freeWorktreeTopic, sessionTopic } from "./topics.ts";
import { expireLease, expireLeases } from "./worktreeState.ts";

/** Who will hold a lease: a registered runner, or anybody with a name. */
export const holder = { runnerId: Id.optional(), owner: Name.optional() };
export const namesHolder = (input: { readonly runnerId?: string | undefined; readonly owner?: string | undefined }) =>
  input.runnerId !== undefined || input.owner !== undefined;
export const holderRule = { error: "name a runnerId or an owner", path: ["runnerId"] };
export const reserveFields = {
  ...holder,
  ttlMs: LeaseTtl.default(60_000),
  environmentHash: Hash.optional(),
  path: Path.optional(),
};

/** What sessions.create needs to reserve a tree for the new session. */
export const ReserveInput = z.strictObject({ id: NewId, ...reserveFields }).refine(namesHolder, holderRule);
interface Reservation {
  readonly id: string;
  readonly repositoryId: string;
  readonly sessionId?: string | undefined;
  readonly commitSha?: string | undefined;
  readonly environmentHash?: string | undefined;
  readonly path?: string | undefined;
  readonly runnerId?: string | undefined;
  readonly owner?: string | undefined;
  readonly ttlMs: number;
}

export const reserveWorktree = step(function* (input: Reservation, context: Context) {
  const repository = yield* lockActiveRepository(input.repositoryId);
  const grantee = yield* nameHolder(input);
  const session = input.sessionId === undefined ? undefined : yield* lockRow("session", input.sessionId);
  if (session !== undefined) {
    if (session.repository_id !== repository.id)
      fail("conflict", { reason: "repository" }, "the session belongs to another repository");
    requireState(session, "session", ["pending", "running"]);
    if (session.worktree_id !== null) yield* refuseLiveBinding(session, context);
  }
  const asked = { commitSha: input.commitSha ?? session?.commit_sha, environmentHash: input.environmentHash };
  const search = { repositoryId: repository.id, ...asked };
  let found = yield* findFree(search);
  const full = repository.worktree_count >= repository.max_worktrees;
  // One at a time: a tree that was never made is not free when its lease has run out (D-026).
  while (found === undefined && full && (yield* expireLeases(context, 1, repository.id)).length > 0)
    found = yield* findFree(search);
  if (found === undefined && full) {
    const topics = session === undefined ? [] : [sessionTopic(session.id)];
    return new NotYet([freeWorktreeTopic(repository.id), ...topics], yield* exhausted(repository.id));
  }
  const path =
    input.path ?? (repository.worktree_root === null ? undefined : `${repository.worktree_root}/${input.id}`);
  const before = found?.row;
  const worktree =
    before === undefined
      ? yield* create(input, path, grantee, context)
      : yield* grant(before.id, "leased", grantee, input.ttlMs, context, session?.id);
  if (session !== undefined) yield* bindWorktree(session, worktree, context);
  return {
    worktree,
    fence: worktree.fence,
    expiresAt: worktree.lease_expires_at as number,
    match: found?.match ?? ("created" as const),
    needsScrub: before?.state === "dirty" ? 1 : 0,
    needsSync: before === undefined || (asked.commitSha !== undefined && before.commit_sha !== asked.commitSha) ? 1 : 0,
  };
});

interface Grantee {
  readonly runnerId: string | null;
  readonly owner: string;
}

export const nameHolder = step(function* (input: {
  readonly runnerId?: string | undefined;
  readonly owner?: string | undefined;
}) {
  if (input.runnerId === undefined) return { runnerId: null, owner: input.owner as string };
  const runner = yield* lockRunner(input.runnerId);
  return { runnerId: runner.id, owner: input.owner ?? runner.name };
});

/** A session whose tree is gone may take another; one whose lease lives may not. */
const refuseLiveBinding = step(function* (session: SessionRow, context: Context) {
  const { worktree_id: worktreeId, worktree_fence: fence } = session;
  const bound = yield* first<WorktreeRow>(sql`
    SELECT * FROM worktrees WHERE id = ${worktreeId} AND fence = ${fence} AND lease_expires_at IS NOT NULL ${forUpdate}`);
  if (bound === undefined) return;
  if ((bound.lease_expires_at as number) > context.now.getTime()) {
    fail("conflict", { reason: "bound", worktreeId, fence }, "the session holds a worktree already");
  }
  yield* expireLease(bound, session, context);
});

interface Search {
  readonly repositoryId: string;
  readonly commitSha: string | undefined;
  readonly environmentHash: string | undefined;
}

type Found = { readonly row: WorktreeRow; readonly match: (typeof matches)[number] };

/** Each step has its own index, ordered as the search is; see migrations. */
const findFree = step(function* ({ repositoryId, commitSha, environmentHash }: Search) {
  const commit = when(commitSha, (value) => sql`commit_sha = ${value}`);
  const environment = when(environmentHash, (value) => sql`environment_hash = ${value}`);
  const steps = [
    { match: "commit_and_environment", condition: commit && environment && and(environment, commit) },
    { match: "environment", condition: environment },
    { match: "commit", condition: commit },
    { match: "least_recently_used", condition: sql`TRUE` },
  ] as const;
  for (const { match, condition } of steps) {
    if (condition === undefined) continue;
    const row = yield* first<WorktreeRow>(sql`
      SELECT * FROM worktrees WHERE repository_id = ${repositoryId} AND ${condition} AND state IN ('idle', 'dirty')
      ORDER BY state DESC, last_used_at LIMIT 1 ${skipLocked}`);
    if (row !== undefined) return { row, match } satisfies Found;
  }
  return undefined;
});

export const exhausted = step(function* (repositoryId: string) {
  const next = yield* first<{ lease_expires_at: number }>(sql`
    SELECT lease_expires_at FROM worktrees WHERE repository_id = ${repositoryId} AND lease_expires_at IS NOT NULL ORDER BY lease_expires_at LIMIT 1`);
  return new StoreError("capacity_exhausted", undefined, {
    details: { earliestExpiryAt: next === undefined ? null : new Date(next.lease_expires_at) },
  });
});

export const grant = step(function* (
  id: string,
  state: "leased" | "evicting",
  { runnerId, owner }: Grantee,
  ttlMs: number,
  { now, changed }: Context,
  sessionId?: string,
) {
  const row = yield* one<WorktreeRow>(sql`
    UPDATE worktrees SET state = ${state}, fence = fence + 1, lease_runner_id = ${runnerId}, lease_owner = ${owner}, leased_at = ${now},
      lease_expires_at = ${after(now, ttlMs)}, last_used_at = ${now}, use_count = use_count + 1, version = version + 1, updated_at = ${now}
    WHERE id = ${id} RETURNING *`);
  changed({
    entity: "worktree",
    id,
    op: state === "leased" ? "reserve" : "evict",
    version: row.version,
    fence: row.fence,
    sessionId,
    detail: { owner },
  });
  return row;
});

const create = step(function* (
  input: Reservation,
  path: string | undefined,
  { runnerId, owner }: Grantee,
  { now, changed }: Context,
) {
  if (path === undefined)
    fail(
      "invalid_input",
      {},
      "path: no free worktree, and neither a path nor the repository's worktreeRoot says where to make one",
    );
  yield* refuseTakenPath(path);
  const row = yield* one<WorktreeRow>(sql`
    INSERT INTO worktrees (id, repository_id, path, environment_hash, state, fence, lease_runner_id, lease_owner, leased_at, lease_expires_at,
      last_used_at, use_count, created_at, updated_at)
    VALUES (${input.id}, ${input.repositoryId}, ${path}, ${null}, 'creating', 1, ${runnerId}, ${owner}, ${now}, ${after(now, input.ttlMs)}, ${now}, 1, ${now}, ${now})
    RETURNING *`);
  yield* change(sql`UPDATE repositories SET worktree_count = worktree_count + 1 WHERE id = ${input.repositoryId}`);
  changed({
    entity: "worktree",
    id: row.id,
    op: "create",
    version: 1,
    fence: 1,
    sessionId: input.sessionId,
    detail: { owner, path },
  });
  return row;
});

const refuseTakenPath = step(function* (path: string) {
  const taken = yield* first<{ id: string }>(sql`SELECT id FROM worktrees WHERE path = ${path} AND state <> 'removed'`);
  if (taken !== undefined) fail("conflict", { reason: "path", worktreeId: taken.id }, "another worktree has this path");
});
