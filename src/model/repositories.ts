// Repository: an upstream project.
import { z } from "zod";
import { integer, json, nullable, row, text, time, type ValueOf } from "./codec.ts";
import { stamps } from "./common.ts";
import { Directory } from "./directories.ts";
import { filledText, Json, Name, NewId, withoutControls } from "./fields.ts";
import { type RepositoryRetention, RepositoryRetentionField } from "./retention.ts";

export const Repository = row({
  id: text,
  name: text,
  remoteUrl: nullable(text),
  defaultBranch: text,
  description: nullable(text),
  settings: nullable(json()),
  /** The folder for new worktrees whose `reserve` call names no path. */
  worktreeRoot: nullable(text),
  /** The largest number of worktrees in each place. */
  maxWorktrees: integer,
  /** The number of worktrees that are not removed, of all places. */
  worktreeCount: integer,
  archivedAt: nullable(time),
  /** Its own settings of retention; those of the store count for what they leave out. */
  retention: nullable(json<RepositoryRetention>()),
  ...stamps,
});
export type Repository = ValueOf<typeof Repository>;

export const repositoryFields = {
  id: NewId,
  name: Name,
  remoteUrl: filledText(4096).nullable().optional(),
  // A branch is what git calls it, so its spelling is kept.
  defaultBranch: withoutControls(200).default("main"),
  description: filledText(10_000).nullable().optional(),
  settings: Json.optional(),
  worktreeRoot: Directory.nullable().optional(),
  maxWorktrees: z.int().min(0).max(10_000).default(16),
  retention: RepositoryRetentionField,
};

/**
 * Returns the key by which names are unique, regardless of case. Computed here because the two engines fold case
 * differently (D-039). By way of upper case, ß equals SS and both forms of a small sigma are one (D-097).
 */
export function nameKey(name: string): string {
  return name.normalize("NFKC").toLowerCase().toUpperCase().toLowerCase().normalize("NFKC");
}
