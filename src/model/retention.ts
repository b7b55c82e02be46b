// Retention: for how long the store keeps what has ended. The settings of the store have a default for each kind; a
// repository may have its own for some.
import { z } from "zod";
import { integer, json, list, nullable, optional, record, text, time, type ValueOf } from "./codec.ts";
import { asJson } from "./fields.ts";
import type { RetentionKind } from "./vocabulary.ts";

const dayMs = 86_400_000;

/** The settings until somebody sets others. All but those of ready artifacts and of backups are on, because a database must not grow for ever. */
export const defaultRetention = {
  /** Logs, from the end of their session on. They take by far the most space, and are read in the days after it. */
  logsMs: 30 * dayMs,
  /** Ended sessions with their commands, artifacts and debug sessions. */
  sessionsMs: 90 * dayMs,
  /** Ended debug sessions. */
  debugMs: 30 * dayMs,
  /** Rows of artifacts that have failed or were deleted. */
  artifactsMs: 30 * dayMs,
  /** Ready artifacts without a pin. Off: `retentionMs` of an artifact says for how long its file is kept. */
  readyArtifactsMs: null,
  /** Rows of removed worktrees, once no session names them. */
  worktreesMs: 30 * dayMs,
  /** Runners that are gone, once no attempt and no lease names them. */
  runnersMs: 7 * dayMs,
  /** Tokens that were revoked or have expired, once no session and no other token names them. */
  tokensMs: 90 * dayMs,
  /** Patches, from their last use on, once no session refers to them. */
  patchesMs: 30 * dayMs,
  /** Environments that are not pinned, from their last use on. */
  environmentsMs: 30 * dayMs,
  /** Files that wait to be removed, and that no collector has removed: from then on nobody learns of them. */
  filesMs: 365 * dayMs,
  /** The sums of what commands used on a day: enough to compare a month with that of the year before. */
  usageMs: 400 * dayMs,
  /** Backups, from their making on. Off: what nobody asked to remove may be the only copy of something. */
  backupsMs: null,
  /** The number of backups that stay, in each folder. Off, for the same reason. */
  backupsMax: null,
  /** Rows of the change feed. */
  changesMs: 30 * dayMs,
  /** Rows of the change feed that a registered consumer has not read yet. */
  changesHeldMs: 60 * dayMs,
} as const satisfies Record<string, number | null>;

export type Retention = { readonly [Name in keyof typeof defaultRetention]: number | null };

/** A span of time, or null to keep for ever: a second to a hundred years. */
const Span = z.int().min(1_000).max(3_155_760_000_000).nullable().optional();

/** A number of things, or null for all. */
const Count = z.int().min(1).max(10_000).nullable().optional();

const names = Object.keys(defaultRetention) as (keyof Retention)[];

/** The settings that a call changes; the others stay as they are. */
export const retentionFields = Object.fromEntries(
  names.map((name) => [name, name.endsWith("Max") ? Count : Span]),
) as Record<keyof Retention, typeof Span>;

const spans = Object.fromEntries(names.map((name) => [name, nullable(integer)])) as Record<
  keyof Retention,
  ReturnType<typeof nullable<number, number>>
>;

export const RetentionSettings = record({ ...spans, version: integer, updatedAt: nullable(time) });
export type RetentionSettings = ValueOf<typeof RetentionSettings>;

/** The settings that a repository may have of its own. Those that are absent are the store's. */
export interface RepositoryRetention {
  readonly logsMs?: number | null;
  readonly sessionsMs?: number | null;
  readonly readyArtifactsMs?: number | null;
}

export const RepositoryRetentionField = asJson(
  z.strictObject({ logsMs: Span, sessionsMs: Span, readyArtifactsMs: Span }),
)
  .nullable()
  .optional();

export const Pruned = record({
  /** The number of rows that went, or would go, by kind. */
  rows: json<Partial<Record<RetentionKind, number>>>(),
  /** The names of the consumers of the change feed that have kept rows from going. */
  heldBy: list(text),
  /** The position at which the next step continues; absent after the last one. */
  next: optional(text),
});
export type Pruned = ValueOf<typeof Pruned>;

export const FeedConsumer = record({
  id: text,
  name: text,
  /** The last change that it has handled. */
  seq: integer,
  /** The number of changes after that, of whatever entity. */
  lag: integer,
  /** The age of the first change after that; null when there is none. */
  lagMs: nullable(integer),
  /** The name that the holder of its lease has given; null without a lease. */
  owner: nullable(text),
  /** The fencing token of its last lease; 0 before the first. */
  fence: integer,
  /** The end of its lease; null without one. */
  leaseExpiresAt: nullable(time),
  version: integer,
  createdAt: time,
  updatedAt: time,
});
export type FeedConsumer = ValueOf<typeof FeedConsumer>;
