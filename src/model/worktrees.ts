// Worktree: a checkout directory of a repository, leased to at most one runner or other owner at a time.
//
//   creating* -> leased* | quarantined | removed        * lease columns set
//   idle | dirty -> leased* | evicting*
//   leased* -> idle | dirty | quarantined
//   quarantined -> dirty | evicting*
//   evicting* -> removed | quarantined
//
// Every grant raises the fencing token. An expired lease moves creating and evicting to quarantined, and leased to
// dirty.
import { boolean, integer, nullable, oneOf, type RawOf, record, row, text, time, type ValueOf } from "./codec.ts";
import { stamps } from "./common.ts";
import { type Release, type WorktreeState, worktreeStates } from "./vocabulary.ts";

export const Worktree = row({
  id: text,
  repositoryId: text,
  /** The place in which its directory is; empty when nobody has named one. */
  place: text,
  path: text,
  commitSha: nullable(text),
  environmentHash: nullable(text),
  pinned: boolean,
  sizeBytes: nullable(integer),
  state: oneOf(worktreeStates),
  fence: integer,
  leaseRunnerId: nullable(text),
  leaseOwner: nullable(text),
  leasedAt: nullable(time),
  leaseExpiresAt: nullable(time),
  lastUsedAt: time,
  useCount: integer,
  ...stamps,
});
export type Worktree = ValueOf<typeof Worktree>;

/** The row with the columns that callers do not see. */
export type WorktreeRow = RawOf<typeof Worktree> & {
  /** The fencing tokens under which the commit and the environment were reported (D-078). */
  readonly commit_fence: number | null;
  readonly environment_fence: number | null;
  /** The state in which the last lease ended, by which a repeated release is recognized. */
  readonly ended_from: WorktreeState | null;
};

export const matches = ["commit_and_environment", "environment", "commit", "least_recently_used", "created"] as const;

export const Lease = record({
  worktree: Worktree,
  fence: integer,
  expiresAt: time,
  /** The degree to which the worktree matches the request. */
  match: oneOf(matches),
  /** True when the worktree may contain leftovers of an earlier holder: clean it, under this lease, before use. */
  needsScrub: boolean,
  /** True unless the worktree is known to be at the requested commit, or at any commit if none was requested. */
  needsSync: boolean,
  /** True unless the worktree is known to have the requested environment, or any if none was requested. */
  needsEnvironment: boolean,
});
export type Lease = ValueOf<typeof Lease>;

/** The state of a released worktree, by the way in which its holder released it. */
export const releases = {
  clean: "idle",
  dirty: "dirty",
  keep: "quarantined",
  broken: "quarantined",
} as const satisfies Record<Release, WorktreeState>;
