// Repositories: the projects that sessions work on. A repository is never deleted, only archived, and upserting its
// name takes it back into use. Its row counts its worktrees, so that locking the row guards the limit `maxWorktrees`.
import { z } from "zod";
import type { Context } from "../context.ts";
import { optional, page } from "../model/codec.ts";
import { Id, listInput, Name, Version } from "../model/fields.ts";
import { nameKey, Repository, repositoryFields } from "../model/repositories.ts";
import { fail, operation } from "../operation.ts";
import { type Body, empty, first, forUpdate, one, type Statement, sql, step } from "../sql.ts";
import { type Changeable, changedFields } from "./changeDetail.ts";
import { invalidTransition } from "./failures.ts";
import { listPage } from "./paging.ts";
import { getRow, lockRow, type RowOf } from "./rows.ts";
import { repositoryTopic } from "./topics.ts";
import { requireVersion } from "./versions.ts";

type Row = RowOf["repository"];

/** The fields that `changes` shows when they change. */
const changeable: Changeable = {
  name: "plain",
  remoteUrl: "url",
  defaultBranch: "plain",
  description: "text",
  settings: "json",
  worktreeRoot: "plain",
  maxWorktrees: "plain",
  archivedAt: "time",
  retention: "json",
};

const { id, name, ...settable } = repositoryFields;

const UpsertInput = z.strictObject({
  id,
  name,
  remoteUrl: settable.remoteUrl,
  defaultBranch: settable.defaultBranch.unwrap().optional(),
  description: settable.description,
  settings: settable.settings,
  worktreeRoot: settable.worktreeRoot,
  maxWorktrees: settable.maxWorktrees.unwrap().optional(),
  retention: settable.retention,
  expectedVersion: Version.optional(),
});

/**
 * Creates the repository with this name, or updates the fields of the existing one that are present in the input.
 *
 * Input    name: 1 .. 200 characters, unique, ignoring case. worktreeRoot: an absolute path, stored in normal form.
 *          retention: for how long its sessions, their logs and ready artifacts are kept, as maintenance.setRetention,
 *          null for ever; an absent time is that of the store, as is every time without `retention`, or with null
 * Result   the repository as it is now
 * Fails    conflict { reason: "version" } when expectedVersion differs and something would change, or when it is
 *          present and the name is new
 *          | conflict { reason: "exists" } when another repository has this id
 * Effect   one row of repositories, and one row of changes that names the changed fields; none when nothing differs
 * Cost     2 statements by unique index, or 4 when another call adds the name at the same time
 */
export const upsert = operation({
  access: "write",
  input: UpsertInput,
  output: Repository,
  errors: ["conflict"],
  *run(input, context) {
    return yield* upsertRepository(input, context);
  },
});

/** Adds or updates the repository with the name in the input. */
const upsertRepository = step(function* (input: z.output<typeof UpsertInput>, context: Context): Body<Row> {
  const before = yield* first<Row>(sql`
    SELECT * FROM repositories WHERE name_key = ${nameKey(input.name)} ${forUpdate}`);
  // An upsert that was repeated changes nothing, and needs no version.
  if (before !== undefined && !isDifferent(input, before)) return before;
  requireVersion(before ?? { version: 0 }, input.expectedVersion);
  if (before !== undefined) return yield* updateRepository(before, input, context);
  // When two transactions find no row, one of them adds it, and the other then finds it.
  return (yield* insertRepository(input, context)) ?? (yield* upsertRepository(input, context));
});

/** Adds a repository, or returns undefined when another transaction has added one with this name. */
const insertRepository = step(function* (input: z.output<typeof UpsertInput>, { now, changed, counted }: Context) {
  const row = yield* first<Row>(sql`
    INSERT INTO repositories (
      id,
      name,
      name_key,
      remote_url,
      default_branch,
      description,
      settings,
      worktree_root,
      max_worktrees,
      retention,
      created_at,
      updated_at
    ) VALUES (
      ${input.id},
      ${input.name},
      ${nameKey(input.name)},
      ${input.remoteUrl ?? null},
      ${input.defaultBranch ?? "main"},
      ${input.description ?? null},
      ${input.settings ?? null},
      ${input.worktreeRoot ?? null},
      ${input.maxWorktrees ?? 16},
      ${input.retention ?? null},
      ${now},
      ${now}
    )
    ON CONFLICT (name_key) DO NOTHING
    RETURNING *`);
  if (row === undefined) return undefined;
  counted("repository", undefined, "active");
  changed({ entity: "repository", id: row.id, op: "create", version: 1 });
  return row;
});

/** Updates the fields of a locked repository that the input has. */
const updateRepository = step(function* (
  before: Row,
  input: z.output<typeof UpsertInput>,
  { now, changed, wake, counted }: Context,
) {
  const row = yield* one<Row>(sql`
    UPDATE repositories SET
      name = ${input.name}
      ${assignWhen(input.remoteUrl, sql`, remote_url = ${input.remoteUrl ?? null}`)}
      ${assignWhen(input.defaultBranch, sql`, default_branch = ${input.defaultBranch ?? null}`)}
      ${assignWhen(input.description, sql`, description = ${input.description ?? null}`)}
      ${assignWhen(input.settings, sql`, settings = ${input.settings ?? null}`)}
      ${assignWhen(input.worktreeRoot, sql`, worktree_root = ${input.worktreeRoot ?? null}`)}
      ${assignWhen(input.maxWorktrees, sql`, max_worktrees = ${input.maxWorktrees ?? null}`)}
      ${assignWhen(input.retention, sql`, retention = ${input.retention ?? null}`)},
      archived_at = NULL,
      version = version + 1,
      updated_at = ${now}
    WHERE id = ${before.id}
    RETURNING *`);
  if (before.archived_at !== null) counted("repository", "archived", "active");
  const detail = changedFields(changeable, before, row);
  changed({ entity: "repository", id: row.id, op: "update", version: row.version, detail });
  // The repository may now allow more worktrees, so calls that wait for one run again.
  wake(repositoryTopic(row.id));
  return row;
});

/** Returns the assignment when the input has a value for its column. */
function assignWhen(value: unknown, assignment: Statement): Statement {
  return value === undefined ? empty : assignment;
}

/** Checks whether an upsert changes the row. It always changes an archived repository, which it takes back into use. */
function isDifferent(input: Readonly<Record<string, unknown>>, row: Row): boolean {
  const pairs: [unknown, unknown][] = [
    [input.name, row.name],
    [input.remoteUrl, row.remote_url],
    [input.defaultBranch, row.default_branch],
    [input.description, row.description],
    [input.settings, row.settings],
    [input.worktreeRoot, row.worktree_root],
    [input.maxWorktrees, row.max_worktrees],
    [input.retention, row.retention],
  ];
  return row.archived_at !== null || pairs.some(([wanted, stored]) => wanted !== undefined && wanted !== stored);
}

/**
 * Returns one repository.
 *
 * Fails    not_found
 * Cost     1 statement by primary key
 */
export const get = operation({
  access: "read",
  input: z.strictObject({ repositoryId: Id }),
  output: Repository,
  errors: ["not_found"],
  *run({ repositoryId }) {
    return yield* getRow("repository", repositoryId);
  },
});

/**
 * Returns the repository with this name, ignoring case, or undefined.
 *
 * Cost     1 statement by unique index
 */
export const find = operation({
  access: "read",
  input: z.strictObject({ name: Name }),
  output: optional(Repository),
  errors: [],
  *run(input) {
    return yield* first<Row>(sql`SELECT * FROM repositories WHERE name_key = ${nameKey(input.name)}`);
  },
});

/**
 * Lists repositories; archived ones only with `includeArchived`.
 *
 * Cost     1 statement along an index, at most `limit` rows
 */
export const list = operation({
  access: "read",
  input: listInput("repository", { includeArchived: z.boolean().default(false) }),
  output: page(Repository),
  errors: [],
  *run(input) {
    return yield* listPage("repository", input, {
      filters: { live: input.includeArchived ? undefined : [sql`archived_at IS NULL`] },
      indexes: [["live"]],
    });
  },
});

/**
 * Archives a repository: no session can be created for it, and no worktree reserved or registered. Repeating the call
 * changes nothing.
 *
 * Fails    not_found | conflict { reason: "version" }
 * Effect   one row of repositories, one row of changes
 */
export const archive = operation({
  access: "write",
  input: z.strictObject({ repositoryId: Id, expectedVersion: Version.optional() }),
  output: Repository,
  errors: ["not_found", "conflict"],
  *run({ repositoryId, expectedVersion }, { now, changed, wake, counted }) {
    const before = yield* lockRow("repository", repositoryId);
    if (before.archived_at !== null) return before;
    requireVersion(before, expectedVersion);
    const row = yield* one<Row>(sql`
      UPDATE repositories SET
        archived_at = ${now},
        version = version + 1,
        updated_at = ${now}
      WHERE id = ${repositoryId}
      RETURNING *`);
    counted("repository", "active", "archived");
    changed({ entity: "repository", id: repositoryId, op: "archive", version: row.version });
    // Calls that wait for a worktree of this repository run again, and fail.
    wake(repositoryTopic(repositoryId));
    return row;
  },
});

/**
 * Renames a repository, archived or not. Its old name is free from then on: an upsert of that name creates another
 * repository. Repeating the call changes nothing.
 *
 * Input    name: 1 .. 200 characters, unique, ignoring case; the same name in other letter case is allowed
 * Fails    not_found | conflict { reason: "name", repositoryId } when another repository has the name
 *          | conflict { reason: "version" }
 * Effect   one row of repositories, one row of changes
 * Cost     at most 3 statements by unique index
 */
export const rename = operation({
  access: "write",
  input: z.strictObject({ repositoryId: Id, name: Name, expectedVersion: Version.optional() }),
  output: Repository,
  errors: ["not_found", "conflict"],
  *run(input, { now, changed }) {
    const { repositoryId, expectedVersion } = input;
    const before = yield* lockRow("repository", repositoryId);
    if (before.name === input.name) return before;
    requireVersion(before, expectedVersion);
    const key = nameKey(input.name);
    // Without a lock: two calls that swap names would lock the two rows in different orders.
    const other = yield* first<Row>(sql`SELECT * FROM repositories WHERE name_key = ${key} AND id <> ${repositoryId}`);
    if (other !== undefined) {
      const message = `another repository has the name ${input.name}: choose another one`;
      fail("conflict", { reason: "name", repositoryId: other.id }, message);
    }
    const row = yield* one<Row>(sql`
      UPDATE repositories SET
        name = ${input.name},
        name_key = ${key},
        version = version + 1,
        updated_at = ${now}
      WHERE id = ${repositoryId}
      RETURNING *`);
    changed({
      entity: "repository",
      id: repositoryId,
      op: "rename",
      version: row.version,
      detail: changedFields(changeable, before, row),
    });
    return row;
  },
});

/** Locks and returns a repository, or fails with `invalid_transition` when it is archived. */
export const lockActiveRepository = step(function* (repositoryId: string) {
  const row = yield* lockRow("repository", repositoryId);
  if (row.archived_at !== null)
    invalidTransition(
      "repository",
      "archived",
      `repository ${repositoryId} is archived: upsert its name to use it again`,
    );
  return row;
});
