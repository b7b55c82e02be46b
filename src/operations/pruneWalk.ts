// A walk over the rows that retention removes: a step of it looks at a bounded number of rows, and says where the next
// one continues. A dry run walks in the same way, and removes nothing.
import type { Context } from "../context.ts";
import { parseJson } from "../model/json.ts";
import type { RepositoryRetention, Retention } from "../model/retention.ts";
import type { RetentionKind } from "../model/vocabulary.ts";
import { type Body, one, sql, step } from "../sql.ts";

/** The place after which a step continues within its kind: the last row that it is done with. */
export interface Position {
  readonly repositoryId?: string | undefined;
  readonly at?: number | undefined;
  readonly id?: string | undefined;
  /** The progress within a row that is not done, the next one, and the id of that row; or a sequence number. */
  readonly part?: number | undefined;
  readonly attempt?: number | undefined;
  readonly partOf?: string | undefined;
}

/** The part of a walk that one step does within one kind. */
export interface Walk {
  readonly position: Position;
  /** The number of rows to look at or to remove: a few milliseconds of work. */
  readonly limit: number;
  readonly dryRun: boolean;
  readonly settings: Retention;
  readonly context: Context;
  /** Called before rows are removed. Returns false when another server removes them. */
  mayRemove(): Body<boolean>;
}

export interface Walked {
  /** The share of the limit that is used up. */
  readonly used: number;
  /** The number of rows that went, or would go. */
  readonly rows: number;
  /** The position of the next step; undefined when the kind is done. */
  readonly next: Position | undefined;
  /** The consumers of the change feed that have kept rows from going. */
  readonly heldBy?: readonly string[];
  /** True when another server removes the rows. */
  readonly refused?: true;
}

/** The answer of a kind that removes nothing. */
export const nothing: Walked = { used: 0, rows: 0, next: undefined };

export const refused: Walked = { ...nothing, refused: true };

/** Returns the settings of a repository, whose own come first. */
export function settingsWithin(settings: Retention, retention: string | null): Retention {
  return retention === null ? settings : { ...settings, ...(parseJson(retention) as RepositoryRetention) };
}

/**
 * Counts the rows that a step has removed, and adds one row to the change feed for all of them. `ids` are those of the
 * rows that get no row of their own there.
 */
export const notePruned = step(function* (
  kind: RetentionKind,
  rows: number,
  ids: readonly string[],
  { now, changed }: Context,
) {
  if (rows === 0) return;
  const { version } = yield* one<{ version: number }>(sql`
    INSERT INTO pruned (
      kind,
      row_count,
      updated_at
    ) VALUES (
      ${kind},
      ${rows},
      ${now}
    )
    ON CONFLICT (kind) DO UPDATE SET
      row_count = pruned.row_count + excluded.row_count,
      version = pruned.version + 1,
      updated_at = excluded.updated_at
    RETURNING version`);
  // The floor of the feed says what has gone from it. A row about it would be one more to remove, for ever.
  if (kind === "changes") return;
  changed({ entity: "pruned", id: kind, op: "prune", version, detail: { rows, ids } });
});
