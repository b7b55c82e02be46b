// Worktree: a checkout directory of a repository that one runner, or other owner, at a time may use.
//
//   creating* -> leased* | quarantined | removed        * lease columns set
//   idle | dirty -> leased* | evicting*
//   leased* -> idle | dirty | quarantined
//   quarantined -> dirty | evicting*
//   evicting* -> removed
//
// Every grant raises the fence. Expiry: creating and evicting go to quarantined, leased to dirty.
import { boolean, integer, nullable, oneOf, type RawOf, record, row, text, time, type ValueOf } from "./codec.ts";
import { stamps } from "./common.ts";
import { type Release, type WorktreeState, worktreeStates } from "./vocabulary.ts";

export const Worktree = row({
  id: text,
  repositoryId: text,
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
export type WorktreeRow = RawOf<typeof Worktree>;

export const matches = ["commit_and_environment", "environment", "commit", "least_recently_used", "created"] as const;

export const Lease = record({
  worktree: Worktree,
  fence: integer,
  expiresAt: time,
  /** How well the tree fits what was asked for. */
  match: oneOf(matches),
  /** The tree may hold another's leftovers: clean it, under this lease, before use. */
  needsScrub: boolean,
  /** The tree does not stand at the commit that was asked for, or has to be made first. */
  needsSync: boolean,
});
export type Lease = ValueOf<typeof Lease>;

/** What a holder says of the tree that it gives back, and the state that follows. */
export const releases = {
  clean: "idle",
  dirty: "dirty",
  keep: "quarantined",
  broken: "quarantined",
} as const satisfies Record<Release, WorktreeState>;
