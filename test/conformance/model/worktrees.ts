// The model of worktrees.
import { byId, fits, inOrderOfIds, page, wholePage } from "./lists.ts";
import { modelOf } from "./operation.ts";
import type { Picks } from "./picks.ts";
import { activeRepository, countWorktrees } from "./repositories.ts";
import { grant, holderOf, isFullAt, isThere, noCapacity, placeOf, reserve, unused, withPath } from "./reservation.ts";
import { keepActive, sessionOf, unbind } from "./sessionState.ts";
import {
  Failure,
  get,
  requireState,
  requireVersion,
  type State,
  smallest,
  stamped,
  tickMs,
  type Worktree,
} from "./state.ts";
import {
  afterRelease,
  endLease,
  leasedWorktree,
  lost,
  requireLease,
  saveWorktree,
  withFacts,
  withoutCommit,
  withoutEnvironment,
} from "./worktreeLease.ts";

export const commits = ["a".repeat(40), "b".repeat(40)] as const;
const environments = ["node-24", "node-22"] as const;
const paths = ["/srv/x/1", "/srv/x/2", "/srv/x/3"] as const;
const ttls = [3, 1, 5, 20].map((ticks) => ticks * tickMs);

const isLeased = ({ leaseExpiresAt }: Worktree): boolean => leaseExpiresAt !== null;

/** Returns the key of a lease that somebody holds, or once held. */
function leaseKey(picks: Picks, state: State, isMeant: (row: Worktree) => boolean = isLeased) {
  const row = picks.row(state.worktrees, isMeant);
  return { worktreeId: picks.idOf(row), fence: picks.fence(row) };
}

const facts = (picks: Picks) => ({
  ...picks.optional("commitSha", picks.of([...commits, null])),
  ...picks.optional("environmentHash", picks.of([...environments, null])),
  ...picks.optional("sizeBytes", picks.of([1, 2]), 4),
});

const evictionOf = (ttlMs = tickMs) => ({ to: "evicting", needsSync: true, needsEnvironment: true, ttlMs }) as const;
const isFree = ({ state }: Worktree): boolean => state === "idle" || state === "dirty";

/** Saves a worktree for its holder, which is activity of the session that holds it. */
function saveLeased(state: State, row: Worktree, op: string): Worktree {
  const session = sessionOf(state, row);
  keepActive(state, session?.id);
  return saveWorktree(state, row, op, session?.id);
}

export const worktrees = modelOf("worktrees", {
  reserve: {
    weight: 8,
    input: (picks, state) => ({
      id: picks.newId(),
      repositoryId: picks.id(state.repositories, ({ archivedAt }) => archivedAt === null),
      ...picks.optional(
        "sessionId",
        picks.id(state.sessions, (row) => row.worktreeId === null && row.endedAt === null),
      ),
      ...picks.holder(state),
      ttlMs: picks.of(ttls),
      ...picks.optional("commitSha", picks.of(commits)),
      ...picks.optional("environmentHash", picks.of(environments)),
      ...picks.optional("path", picks.of(paths), 5),
    }),
    run: (input, state) => reserve(state, input),
    waits: "waitMs",
    isMiss: (_input, result) => result instanceof Failure && result.code === "capacity_exhausted",
  },
  register: {
    weight: 2,
    input: (picks, state) => ({
      id: picks.newId(),
      repositoryId: picks.id(state.repositories),
      path: picks.of(paths),
      ...picks.place(3),
      clean: picks.oneIn(2),
      pinned: picks.oneIn(4),
      ...picks.optional("commitSha", picks.of(commits)),
      ...picks.optional("environmentHash", picks.of(environments)),
    }),
    run({ id = "", repositoryId, place = "", path, clean = false, commitSha, environmentHash, pinned = false }, state) {
      const repository = activeRepository(state, repositoryId);
      const known = withPath(state, place, path);
      if (known?.repositoryId === repositoryId) return known;
      if (known !== undefined) throw new Failure("conflict", { reason: "path", worktreeId: known.id });
      if (isFullAt(state, repository, place)) throw noCapacity(state, repository, place);
      const row: Worktree = {
        ...unused,
        id,
        repositoryId,
        place,
        path,
        commitSha: commitSha ?? null,
        environmentHash: environmentHash ?? null,
        pinned,
        state: clean ? "idle" : "dirty",
        fence: 0,
        leaseRunnerId: null,
        leaseOwner: null,
        leasedAt: null,
        leaseExpiresAt: null,
        lastUsedAt: state.now,
        ...stamped(state.now),
        hidden: {
          commitFence: commitSha === undefined ? null : 0,
          environmentFence: environmentHash === undefined ? null : 0,
          endedFrom: null,
        },
      };
      state.put("worktrees", id, row);
      countWorktrees(state, repositoryId, 1);
      state.change("worktree", row, "register");
      return row;
    },
  },
  ready: {
    weight: 5,
    input: (picks, state) => ({
      ...leaseKey(picks, state, (row) => row.state === "creating"),
      ...facts(picks),
    }),
    run({ worktreeId, fence, ...reported }, state) {
      const before = leasedWorktree(state, worktreeId, fence);
      if (before.state === "leased") return before;
      requireState("worktree", before, ["creating"]);
      return saveLeased(state, { ...withFacts(before, reported), state: "leased" }, "ready");
    },
  },
  renew: {
    weight: 3,
    input: (picks, state) => ({ ...leaseKey(picks, state), ttlMs: picks.of(ttls) }),
    run({ worktreeId, fence, ttlMs = tickMs }, state) {
      const before = leasedWorktree(state, worktreeId, fence);
      const row = { ...before, leaseExpiresAt: state.now + ttlMs };
      state.put("worktrees", row.id, row);
      keepActive(state, sessionOf(state, row)?.id);
      return row;
    },
  },
  update: {
    weight: 3,
    input(picks, state) {
      const row = picks.row(state.worktrees, isLeased);
      return {
        worktreeId: picks.idOf(row),
        fence: picks.fence(row),
        ...facts(picks),
        ...picks.optional("pinned", picks.oneIn(2), 3),
        ...picks.version(row),
      };
    },
    run({ worktreeId, fence, expectedVersion, ...reported }, state) {
      const before = leasedWorktree(state, worktreeId, fence);
      requireVersion(before, expectedVersion);
      return saveLeased(state, withFacts(before, reported), "update");
    },
  },
  release: {
    weight: 6,
    input: (picks, state) => ({
      ...leaseKey(picks, state, (row) => isLeased(row) || row.hidden.endedFrom !== null),
      ...facts(picks),
      to: picks.of(["clean", "dirty", "keep", "broken"] as const),
    }),
    run({ worktreeId, fence, to = "dirty", ...reported }, state) {
      const before = get(state.worktrees, "worktree", worktreeId);
      if (before.fence !== fence) throw lost(before);
      if (before.leaseExpiresAt === null) {
        const { endedFrom } = before.hidden;
        if (endedFrom !== null && afterRelease(endedFrom, to) === before.state) return before;
        throw lost(before);
      }
      const session = sessionOf(state, before);
      const end = { to: afterRelease(before.state, to), op: "release", sessionId: session?.id, isByHolder: true };
      const row = endLease(state, withFacts(before, reported), end);
      if (session !== undefined) unbind(state, session);
      return row;
    },
  },
  quarantine: {
    input: leaseKey,
    run({ worktreeId, fence }, state) {
      const before = leasedWorktree(state, worktreeId, fence);
      const session = sessionOf(state, before);
      const row = endLease(state, before, { to: "quarantined", op: "quarantine", sessionId: session?.id });
      if (session !== undefined) unbind(state, session);
      return row;
    },
  },
  restore: {
    weight: 2,
    input(picks, state) {
      const row = picks.row(state.worktrees, ({ state }) => state === "quarantined");
      return { worktreeId: picks.idOf(row), ...picks.version(row) };
    },
    run({ worktreeId, expectedVersion }, state) {
      const before = get(state.worktrees, "worktree", worktreeId);
      if (before.state === "dirty") return before;
      requireVersion(before, expectedVersion);
      requireState("worktree", before, ["quarantined"]);
      const row = withoutCommit(withoutEnvironment(before));
      return saveWorktree(state, { ...row, state: "dirty", hidden: { ...row.hidden, endedFrom: null } }, "restore");
    },
  },
  adopt: {
    input(picks, state) {
      const row = picks.row(state.worktrees, ({ state }) => state !== "removed");
      return { worktreeId: picks.idOf(row), place: picks.of(["b", ""]), ...picks.version(row) };
    },
    run({ worktreeId, place, expectedVersion }, state) {
      const before = get(state.worktrees, "worktree", worktreeId);
      if (before.place === place) return before;
      requireVersion(before, expectedVersion);
      if (before.state === "removed") throw new Failure("invalid_transition", { entity: "worktree", state: "removed" });
      const other = withPath(state, place, before.path);
      if (other !== undefined) throw new Failure("conflict", { reason: "path", worktreeId: other.id });
      const repository = get(state.repositories, "repository", before.repositoryId);
      if (isFullAt(state, repository, place)) throw noCapacity(state, repository, place);
      return saveWorktree(state, { ...before, place }, "adopt");
    },
  },
  evict: {
    weight: 2,
    input(picks, state) {
      const row = picks.row(state.worktrees, isFree);
      return {
        repositoryId: picks.oneIn(6)
          ? picks.id(state.repositories)
          : (row?.repositoryId ?? picks.id(state.repositories)),
        ...picks.optional("worktreeId", picks.idOf(row)),
        ...picks.holder(state),
        ttlMs: picks.of(ttls),
      };
    },
    run({ repositoryId, worktreeId, runnerId, owner, place: asked, ttlMs }, state) {
      const holder = holderOf(state, { runnerId, owner });
      const place = placeOf(state, { runnerId, place: asked });
      if (worktreeId !== undefined) {
        const named = get(state.worktrees, "worktree", worktreeId);
        if (named.repositoryId !== repositoryId) throw new Failure("not_found", { entity: "worktree", id: worktreeId });
        requireState("worktree", named, ["idle", "dirty", "quarantined"]);
        if ((runnerId !== undefined || asked !== undefined) && named.place !== place)
          throw new Failure("conflict", { reason: "place", place: named.place });
        return grant(state, named, holder, evictionOf(ttlMs));
      }
      const free = [...state.worktrees.values()].filter(
        (row) => isThere(row, repositoryId, place) && isFree(row) && !row.pinned,
      );
      const row = state.choices.of(smallest(free, ({ lastUsedAt }) => lastUsedAt));
      if (row !== undefined) return grant(state, row, holder, evictionOf(ttlMs));
      get(state.repositories, "repository", repositoryId);
      return undefined;
    },
    isStored: (_input, answer) => answer !== undefined,
  },
  evictUnused: {
    input: (picks, state) => ({
      repositoryId: picks.id(state.repositories),
      unusedForMs: picks.of([0, 1, 5]) * tickMs,
      quarantined: picks.oneIn(3),
      ...picks.holder(state),
      ttlMs: picks.of(ttls),
    }),
    run({ repositoryId, unusedForMs = 0, quarantined = false, runnerId, owner, place: asked, ttlMs }, state) {
      const holder = holderOf(state, { runnerId, owner });
      const place = placeOf(state, { runnerId, place: asked });
      const rows = [...state.worktrees.values()].filter(
        (row) =>
          isThere(row, repositoryId, place) &&
          (quarantined ? row.state === "quarantined" : isFree(row)) &&
          !row.pinned &&
          row.lastUsedAt <= state.now - unusedForMs,
      );
      if (rows.length === 0) get(state.repositories, "repository", repositoryId);
      return rows.map((row) => grant(state, row, holder, evictionOf(ttlMs)));
    },
    isStored: (_input, answer) => (answer as readonly unknown[]).length > 0,
    ordered: (answer) => (Array.isArray(answer) ? inOrderOfIds(answer) : answer),
  },
  completeEvict: {
    weight: 2,
    input: (picks, state) => leaseKey(picks, state, (row) => row.state === "evicting"),
    run({ worktreeId, fence }, state) {
      const before = get(state.worktrees, "worktree", worktreeId);
      if (before.state === "removed" && before.fence === fence) return before;
      requireLease(before, fence);
      requireState("worktree", before, ["evicting"]);
      return endLease(state, before, { to: "removed", op: "remove" });
    },
  },
  get: {
    input: (picks, state) => ({ worktreeId: picks.id(state.worktrees) }),
    run: ({ worktreeId }, state) => get(state.worktrees, "worktree", worktreeId),
  },
  list: {
    input: (picks, state) => ({
      ...wholePage,
      ...picks.optional("repositoryId", picks.id(state.repositories)),
      ...picks.optional("runnerId", picks.id(state.runners)),
      ...picks.optional("state", picks.of(["idle", ["leased", "creating"], "dirty"] as const) as "idle"),
      ...picks.place(4),
    }),
    run: ({ repositoryId, runnerId, state: wanted, place }, state) =>
      page(
        state.worktrees,
        (row) =>
          fits(repositoryId, row.repositoryId) &&
          fits(runnerId, row.leaseRunnerId) &&
          fits(wanted, row.state) &&
          fits(place, row.place),
      ),
    ordered: byId,
  },
});
