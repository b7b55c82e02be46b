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
import { expireWorktreeLease, expireWorktreeLeases } from "./worktreeState.ts";

/** Who will hold a lease: a registered runner, or anybody with a name. */
export const holderFields = { runnerId: Id.optional(), owner: Name.optional() };
export const namesHolder = (input: { readonly runnerId?: string | undefined; readonly owner?: string | undefined }) =>
  input.runnerId !== undefined || input.owner !== undefined;
export const holderRule = { error: "name a runnerId or an owner", path: ["runnerId"] };
export const reserveFields = {
  ...holderFields,
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
  const holder = yield* resolveHolder(input);
  const session = input.sessionId === undefined ? undefined : yield* lockRow("session", input.sessionId);
  if (session !== undefined) {
    if (session.repository_id !== repository.id)
      fail("conflict", { reason: "repository" }, "the session belongs to another repository");
    requireState(session, "session", ["pending", "running"]);
    if (session.worktree_id !== null) yield* requireUnbound(session, context);
  }
  const wanted = { commitSha: input.commitSha ?? session?.commit_sha, environmentHash: input.environmentHash };
  const search = { repositoryId: repository.id, ...wanted };
  let candidate = yield* findFreeWorktree(search);
  const full = repository.worktree_count >= repository.max_worktrees;
  // One at a time: a tree that was never made is not free when its lease has run out (D-026).
  while (candidate === undefined && full && (yield* expireWorktreeLeases(context, 1, repository.id)).length > 0)
    candidate = yield* findFreeWorktree(search);
  if (candidate === undefined && full) {
    const topics = session === undefined ? [] : [sessionTopic(session.id)];
    return new NotYet([freeWorktreeTopic(repository.id), ...topics], yield* capacityExhausted(repository.id));
  }
  const path =
    input.path ?? (repository.worktree_root === null ? undefined : `${repository.worktree_root}/${input.id}`);
  const before = candidate?.row;
  const worktree =
    before === undefined
      ? yield* createWorktree(input, path, holder, context)
      : yield* grantWorktree(before.id, "leased", holder, input.ttlMs, context, session?.id);
  if (session !== undefined) yield* bindWorktree(session, worktree, context);
  return {
    worktree,
    fence: worktree.fence,
    expiresAt: worktree.lease_expires_at as number,
    match: candidate?.match ?? ("created" as const),
    needsScrub: before?.state === "dirty" ? 1 : 0,
    needsSync:
      before === undefined || (wanted.commitSha !== undefined && before.commit_sha !== wanted.commitSha) ? 1 : 0,
  };
});

interface Holder {
  readonly runnerId: string | null;
  readonly owner: string;
}

export const resolveHolder = step(function* (input: {
  readonly runnerId?: string | undefined;
  readonly owner?: string | undefined;
}) {
  if (input.runnerId === undefined) return { runnerId: null, owner: input.owner as string };
  const runner = yield* lockRunner(input.runnerId);
  return { runnerId: runner.id, owner: input.owner ?? runner.name };
});

/** A session whose tree is gone may take another; one whose lease lives may not. */
const requireUnbound = step(function* (session: SessionRow, context: Context) {
  const { worktree_id: worktreeId, worktree_fence: fence } = session;
  const bound = yield* first<WorktreeRow>(sql`
    SELECT * FROM worktrees WHERE id = ${worktreeId} AND fence = ${fence} AND lease_expires_at IS NOT NULL ${forUpdate}`);
  if (bound === undefined) return;
  if ((bound.lease_expires_at as number) > context.now.getTime()) {
    fail("conflict", { reason: "bound", worktreeId, fence }, "the session holds a worktree already");
  }
  yield* expireWorktreeLease(bound, session, context);
});

interface Search {
  readonly repositoryId: string;
  readonly commitSha: string | undefined;
  readonly environmentHash: string | undefined;
}

type Candidate = { readonly row: WorktreeRow; readonly match: (typeof matches)[number] };

/** Each step has its own index, ordered as the search is; see migrations. */
const findFreeWorktree = step(function* ({ repositoryId, commitSha, environmentHash }: Search) {
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
    if (row !== undefined) return { row, match } satisfies Candidate;
  }
  return undefined;
});

export const capacityExhausted = step(function* (repositoryId: string) {
  const next = yield* first<{ lease_expires_at: number }>(sql`
    SELECT lease_expires_at FROM worktrees WHERE repository_id = ${repositoryId} AND lease_expires_at IS NOT NULL ORDER BY lease_expires_at LIMIT 1`);
  return new StoreError("capacity_exhausted", undefined, {
    details: { earliestExpiryAt: next === undefined ? null : new Date(next.lease_expires_at) },
  });
});

export const grantWorktree = step(function* (
  id: string,
  state: "leased" | "evicting",
  { runnerId, owner }: Holder,
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

const createWorktree = step(function* (
  input: Reservation,
  path: string | undefined,
  { runnerId, owner }: Holder,
  { now, changed }: Context,
) {
  if (path === undefined)
    fail(
      "invalid_input",
      {},
      "path: no free worktree, and neither a path nor the repository's worktreeRoot says where to make one",
    );
  yield* requireFreePath(path);
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

const requireFreePath = step(function* (path: string) {
  const taken = yield* first<{ id: string }>(sql`SELECT id FROM worktrees WHERE path = ${path} AND state <> 'removed'`);
  if (taken !== undefined) fail("conflict", { reason: "path", worktreeId: taken.id }, "another worktree has this path");
});
