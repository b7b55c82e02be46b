// Reads rows by their ids, in the same way for every entity.
import type { AccountRow } from "../model/accounts.ts";
import type { ArtifactRow } from "../model/artifacts.ts";
import type { RawOf } from "../model/codec.ts";
import type { CommandRow } from "../model/commands.ts";
import type { DebugSessionRow } from "../model/debug.ts";
import type { EnvironmentRow } from "../model/environments.ts";
import type { DiscardedFileRow } from "../model/files.ts";
import type { PatchRow } from "../model/patches.ts";
import type { Repository } from "../model/repositories.ts";
import type { Runner } from "../model/runners.ts";
import type { SessionRow } from "../model/sessions.ts";
import type { TokenRow } from "../model/tokens.ts";
import type { WorktreeRow } from "../model/worktrees.ts";
import { first, forUpdate, type Statement, sql, step } from "../sql.ts";
import { notFound } from "./failures.ts";

/** The rows of each entity, by the name that errors and `changes` give to the entity. */
export interface RowOf {
  readonly account: AccountRow;
  readonly artifact: ArtifactRow;
  readonly command: CommandRow;
  readonly debug_session: DebugSessionRow;
  readonly environment: EnvironmentRow;
  readonly file: DiscardedFileRow;
  readonly patch: PatchRow;
  readonly repository: RawOf<typeof Repository>;
  readonly runner: RawOf<typeof Runner>;
  readonly session: SessionRow;
  readonly token: TokenRow;
  readonly worktree: WorktreeRow;
}

export type Entity = keyof RowOf;

export const tables: Readonly<Record<Entity, Statement>> = {
  account: sql`accounts`,
  artifact: sql`artifacts`,
  command: sql`commands`,
  debug_session: sql`debug_sessions`,
  environment: sql`environments`,
  file: sql`discarded_files`,
  patch: sql`patches`,
  repository: sql`repositories`,
  runner: sql`runners`,
  session: sql`sessions`,
  token: sql`tokens`,
  worktree: sql`worktrees`,
};

/** Returns the size of nullable columns of text or JSON in bytes, without reading what they hold. */
export function textBytes(...columns: readonly [Statement, ...Statement[]]): Statement {
  return columns
    .map((column) => sql`COALESCE(octet_length(${column}/*+ ::text */), 0)`)
    .reduce((sum, one) => sql`${sum} + ${one}`);
}

/** The size of the columns of a row that can be large, for the entities that have such. */
export const largeBytesOf = {
  artifact: textBytes(sql`name`, sql`description`, sql`uri`, sql`metadata`),
  command: textBytes(sql`argv`, sql`cwd`, sql`env`, sql`secret_env_keys`),
  debug_session: textBytes(sql`capabilities`, sql`payload`),
  file: textBytes(sql`uri`, sql`last_error`),
  repository: textBytes(sql`remote_url`, sql`description`, sql`settings`, sql`worktree_root`, sql`retention`),
  runner: textBytes(sql`labels`),
  environment: textBytes(sql`uri`, sql`last_error`),
  patch: textBytes(sql`uri`),
  session: textBytes(sql`patch_uri`, sql`metadata`, sql`labels`),
  worktree: textBytes(sql`path`),
} satisfies Partial<Record<Entity, Statement>>;

/** The size of the rows that one step of a deletion removes. SQLite reads all of a large row to delete it. */
export const bytesPerStep = 4 * 1024 * 1024;

/** Returns the number of rows, at least one, whose sizes make up at most `max` bytes. */
export function countWithin(rows: readonly { readonly bytes: number }[], max: number): number {
  let sum = 0;
  const end = rows.findIndex(({ bytes }, index) => {
    sum += bytes;
    return sum > max && index > 0;
  });
  return end === -1 ? rows.length : end;
}

/** Returns the row of this id, or undefined. */
export const findRow = step(function* <Name extends Entity>(entity: Name, id: string) {
  return yield* first<RowOf[Name]>(sql`SELECT * FROM ${tables[entity]} WHERE id = ${id}`);
});

/** Returns the row of this id, or fails with `not_found`. */
export const getRow = step(function* <Name extends Entity>(entity: Name, id: string) {
  return (yield* findRow(entity, id)) ?? notFound(entity, id);
});

/** Locks the row of this id until the transaction ends and returns it, or fails with `not_found`. */
export const lockRow = step(function* <Name extends Entity>(entity: Name, id: string) {
  const row = yield* first<RowOf[Name]>(sql`SELECT * FROM ${tables[entity]} WHERE id = ${id} ${forUpdate}`);
  return row ?? notFound(entity, id);
});

/**
 * Sorts rows by their ids. Rows of one kind are locked in the order of their ids, so that two transactions that want
 * several of them do not deadlock (D-041).
 */
export function inOrderOfIds<Row extends { readonly id: string }>(rows: readonly Row[]): readonly Row[] {
  return rows.toSorted((left, right) => (left.id < right.id ? -1 : 1));
}

/** Converts the time in a nullable column to a parameter of a statement. */
export function dateOrNull(milliseconds: number | null): Date | null {
  return milliseconds === null ? null : new Date(milliseconds);
}
