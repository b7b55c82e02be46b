// Checks of repositories and worktrees.
import { sql } from "../../sql.ts";
import { countsOfPlace } from "../worktreeCounts.ts";
import { byId, type Check, firstId } from "./check.ts";
import { countEnvironments, countPlace, writeColumns } from "./repair.ts";

/** The states of a worktree that takes a place in its repository, each with a part of the index of states. */
const worktreeCount = sql`(
  SELECT count(*) FROM worktrees
  WHERE repository_id = repositories.id
    AND state IN ('creating', 'idle', 'dirty', 'leased', 'quarantined', 'evicting'))`;

const placeCount = countsOfPlace(sql`repository_places.repository_id`, sql`repository_places.place`);

const ofPlace = sql`FROM environments WHERE environments.place = environment_places.place AND uri IS NOT NULL`;
const countOfPlace = sql`(SELECT count(*) ${ofPlace})`;
const sizeOfPlace = sql`(SELECT COALESCE(sum(environments.size_bytes), 0) ${ofPlace})`;

const unknownFacts = sql`commit_sha = NULL, commit_fence = NULL, environment_hash = NULL, environment_fence = NULL`;

const worktrees = byId(sql`worktrees`);

export const placeChecks: readonly Check[] = [
  {
    name: "place-environment-size",
    says: "A place counts its environments that are ready, and their size.",
    walk: byId(sql`environment_places`),
    rows: 16,
    rule: {
      id: sql`place`,
      found: sql`size_bytes`,
      expected: sizeOfPlace,
      broken: sql`environment_count = 0 OR environment_count <> ${countOfPlace} OR size_bytes <> ${sizeOfPlace}`,
    },
    repair: countEnvironments((place) => sql`CAST(${place} AS text)`),
    remedy: "Repair it: the environments are counted.",
  },
  {
    name: "environment-place",
    says: "An environment that is ready is counted in its place.",
    walk: byId(sql`environments`),
    rows: 5_000,
    rule: {
      id: sql`id`,
      found: sql`place`,
      broken: sql`
        state = 'ready'
        AND NOT EXISTS (SELECT 1 FROM environment_places WHERE environment_places.place = environments.place)`,
    },
    repair: countEnvironments((id) => sql`(SELECT place FROM environments WHERE id = ${id})`),
    remedy: "Repair it: the environments are counted.",
  },
  {
    name: "repository-worktree-count",
    says: "A repository counts its worktrees that are not removed.",
    walk: byId(sql`repositories`),
    rows: 16,
    rule: {
      id: sql`id`,
      found: sql`worktree_count`,
      expected: worktreeCount,
      broken: sql`worktree_count <> ${worktreeCount}`,
    },
    repair: writeColumns("repository", () => sql`worktree_count = ${worktreeCount}`),
    remedy: "Repair it: the worktrees are counted.",
  },
  {
    name: "place-worktree-count",
    says: "A place of a repository counts its worktrees that are not removed, of which it has some.",
    walk: { from: sql`repository_places`, key: ["repository_id", "place"], start: [firstId, ""] },
    rows: 16,
    rule: {
      id: sql`repository_id`,
      found: sql`worktree_count`,
      expected: placeCount,
      broken: sql`worktree_count = 0 OR worktree_count <> ${placeCount}`,
    },
    repair: countPlace,
    remedy: "Repair it: the worktrees are counted.",
  },
  {
    name: "worktree-place",
    says: "A worktree that is not removed is counted in its place.",
    walk: worktrees,
    rows: 5_000,
    rule: {
      id: sql`id`,
      found: sql`place`,
      broken: sql`
        state <> 'removed' AND NOT EXISTS (
          SELECT 1 FROM repository_places
          WHERE repository_places.repository_id = worktrees.repository_id AND repository_places.place = worktrees.place)`,
    },
    repair: countPlace,
    remedy: "Repair it: the worktrees are counted.",
  },
  {
    name: "worktree-ended-from",
    says: "A worktree with a lease has no end of an earlier lease.",
    walk: worktrees,
    rows: 5_000,
    rule: {
      id: sql`id`,
      found: sql`ended_from`,
      broken: sql`lease_expires_at IS NOT NULL AND ended_from IS NOT NULL`,
    },
    repair: writeColumns("worktree", () => sql`ended_from = NULL`),
    remedy: "Repair it: the end is cleared.",
  },
  {
    name: "worktree-facts",
    says: "The commit and the environment of a worktree have the fencing token of the lease that reported them, and a worktree that is quarantined or removed has none.",
    walk: worktrees,
    rows: 5_000,
    rule: {
      id: sql`id`,
      found: sql`COALESCE(commit_fence, environment_fence)`,
      broken: sql`
        (commit_sha IS NULL) <> (commit_fence IS NULL)
        OR (environment_hash IS NULL) <> (environment_fence IS NULL)
        OR commit_fence > fence
        OR environment_fence > fence
        OR (state IN ('quarantined', 'removed') AND (commit_sha IS NOT NULL OR environment_hash IS NOT NULL))`,
    },
    repair: writeColumns("worktree", () => unknownFacts),
    remedy: "Repair it: commit and environment become unknown.",
  },
];
