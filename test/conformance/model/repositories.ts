// The model of repositories.
import { isDeepStrictEqual } from "node:util";
import { modelOf } from "./operation.ts";
import type { Picks } from "./picks.ts";
import { Failure, get, type Repository, raised, requireVersion, type State, stamped, tickMs } from "./state.ts";

/** Returns the repository of a call that adds work to it. */
export function activeRepository(state: State, id: string): Repository {
  const row = get(state.repositories, "repository", id);
  if (row.archivedAt !== null) throw new Failure("invalid_transition", { entity: "repository", state: "archived" });
  return row;
}

/** Changes the number of worktrees of a repository, which raises no version. */
export function countWorktrees(state: State, id: string, by: 1 | -1): void {
  const row = get(state.repositories, "repository", id);
  state.put("repositories", id, { ...row, worktreeCount: row.worktreeCount + by });
}

const retentions = [
  { sessionsMs: 2 * tickMs },
  { logsMs: tickMs, sessionsMs: null },
  { readyArtifactsMs: 2 * tickMs, logsMs: null },
  null,
] as const;
const names = ["alpha", "beta", "Alpha", "gamma"];
const keyOf = (name: string): string => name.toLowerCase();

const byName = (state: State, name: string): Repository | undefined =>
  [...state.repositories.values()].find((row) => keyOf(row.name) === keyOf(name));

function save(state: State, row: Repository, op: string): Repository {
  state.put("repositories", row.id, row);
  state.change("repository", row, op);
  return row;
}

const one = (picks: Picks, state: State) => {
  const row = picks.row(state.repositories);
  return { repositoryId: picks.idOf(row), ...picks.version(row) };
};

export const repositories = modelOf("repositories", {
  upsert: {
    weight: 4,
    input: (picks) => ({
      id: picks.newId(),
      name: picks.of(names),
      ...picks.optional("maxWorktrees", picks.of([3, 2, 4, 1, 0, 4, 3])),
      ...picks.optional("description", picks.of(["text", null]), 3),
      worktreeRoot: picks.of(["/srv/a", "/srv/a", "/srv/a", "/srv/b", null]),
      ...picks.optional("expectedVersion", picks.of([1, 2]), 8),
      ...picks.optional("retention", picks.of(retentions)),
    }),
    run({ id = "", name, expectedVersion, ...fields }, state) {
      const before = byName(state, name);
      const wanted = { name, ...fields } as Partial<Repository>;
      const differs = (Object.keys(wanted) as (keyof Repository)[]).some(
        (key) => !isDeepStrictEqual(wanted[key], before?.[key]),
      );
      if (before !== undefined && before.archivedAt === null && !differs) return before;
      requireVersion(before ?? { version: 0 }, expectedVersion);
      if (before !== undefined)
        return save(state, raised(before, { ...wanted, archivedAt: null }, state.now), "update");
      const row: Repository = {
        id,
        name,
        remoteUrl: null,
        defaultBranch: "main",
        description: null,
        settings: null,
        retention: null,
        worktreeRoot: null,
        maxWorktrees: 16,
        ...fields,
        worktreeCount: 0,
        archivedAt: null,
        ...stamped(state.now),
      } as Repository;
      return save(state, row, "create");
    },
  },
  get: { input: idOnly, run: ({ repositoryId }, state) => get(state.repositories, "repository", repositoryId) },
  find: { input: (picks) => ({ name: picks.of([...names, "delta"]) }), run: ({ name }, state) => byName(state, name) },
  archive: {
    input: one,
    run({ repositoryId, expectedVersion }, state) {
      const before = get(state.repositories, "repository", repositoryId);
      if (before.archivedAt !== null) return before;
      requireVersion(before, expectedVersion);
      return save(state, raised(before, { archivedAt: state.now }, state.now), "archive");
    },
  },
  rename: {
    input: (picks, state) => ({ ...one(picks, state), name: picks.of(names) }),
    run({ repositoryId, name, expectedVersion }, state) {
      const before = get(state.repositories, "repository", repositoryId);
      if (before.name === name) return before;
      requireVersion(before, expectedVersion);
      const other = byName(state, name);
      if (other !== undefined && other.id !== repositoryId)
        throw new Failure("conflict", { reason: "name", repositoryId: other.id });
      return save(state, raised(before, { name }, state.now), "rename");
    },
  },
});

function idOnly(picks: Picks, state: State) {
  return { repositoryId: picks.id(state.repositories) };
}
