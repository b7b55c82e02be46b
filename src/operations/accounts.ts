// Accounts: the people, agents and runners that own tokens. An account is never deleted, only disabled: history and
// tokens keep naming it.
import { z } from "zod";
import type { Context } from "../context.ts";
import { Account, type AccountRow } from "../model/accounts.ts";
import { optional, page } from "../model/codec.ts";
import { Id, listInput, Name, NewId, Version } from "../model/fields.ts";
import { nameKey } from "../model/repositories.ts";
import { type AccountKind, accountKinds } from "../model/vocabulary.ts";
import { fail, operation } from "../operation.ts";
import { type Body, first, forUpdate, one, sql, step } from "../sql.ts";
import { changedFields } from "./changeDetail.ts";
import { invalidTransition } from "./failures.ts";
import { listPage } from "./paging.ts";
import { getRow, lockRow } from "./rows.ts";
import { requireVersion } from "./versions.ts";

/**
 * Creates an account for a person, an agent or a runner.
 *
 * Input    name: 1 .. 200 characters, unique, ignoring case
 * Fails    conflict { reason: "name" | "exists" } when another account has this name, or this id
 * Effect   one row of accounts, one row of changes
 * Cost     2 statements by unique index
 */
export const create = operation({
  access: "write",
  input: z.strictObject({ id: NewId, name: Name, kind: z.enum(accountKinds) }),
  output: Account,
  errors: ["conflict"],
  *run({ id, name, kind }, context) {
    return yield* insertAccount(id, name, kind, context);
  },
});

/** Adds an account. Fails with `conflict` when the name is taken. */
export const insertAccount = step(function* (
  id: string,
  name: string,
  kind: AccountKind,
  context: Context,
): Body<AccountRow> {
  const { now, changed, counted } = context;
  // ON CONFLICT decides between two transactions that insert the same name at once; a SELECT before it could not.
  const row = yield* first<AccountRow>(sql`
    INSERT INTO accounts (
      id,
      name,
      name_key,
      kind,
      created_at,
      updated_at
    ) VALUES (
      ${id},
      ${name},
      ${nameKey(name)},
      ${kind},
      ${now},
      ${now}
    )
    ON CONFLICT (name_key) DO NOTHING
    RETURNING *`);
  if (row === undefined) {
    const holder = yield* lockAccountByName(name);
    // An account that gave up the name while this call waited for it has none to name.
    if (holder === undefined) return yield* insertAccount(id, name, kind, context);
    nameTaken(name, holder.id);
  }
  counted("account", undefined, "enabled");
  changed({ entity: "account", id, op: "create", version: 1, detail: { kind } });
  return row;
});

function nameTaken(name: string, accountId: string): never {
  fail("conflict", { reason: "name", accountId }, `another account has the name ${name}: choose another one`);
}

/** Locks and returns the account with this name, ignoring case, or returns undefined. */
export const lockAccountByName = step(function* (name: string) {
  return yield* first<AccountRow>(sql`SELECT * FROM accounts WHERE name_key = ${nameKey(name)} ${forUpdate}`);
});

/** Fails with `invalid_transition` when the account is disabled. */
export function requireEnabled({ id, disabled_at }: AccountRow): void {
  if (disabled_at !== null) invalidTransition("account", "disabled", `account ${id} is disabled`);
}

/**
 * Disables an account: its tokens are refused from the next call on. Repeating the call changes nothing.
 *
 * Fails    not_found | conflict { reason: "version" }
 * Effect   one row of accounts, one row of changes
 */
export const disable = operation({
  access: "write",
  input: z.strictObject({ accountId: Id, expectedVersion: Version.optional() }),
  output: Account,
  errors: ["not_found", "conflict"],
  *run({ accountId, expectedVersion }, { now, changed, counted }) {
    const before = yield* lockRow("account", accountId);
    if (before.disabled_at !== null) return before;
    requireVersion(before, expectedVersion);
    const row = yield* one<AccountRow>(sql`
      UPDATE accounts SET
        disabled_at = ${now},
        version = version + 1,
        updated_at = ${now}
      WHERE id = ${accountId}
      RETURNING *`);
    counted("account", "enabled", "disabled");
    changed({ entity: "account", id: accountId, op: "disable", version: row.version });
    return row;
  },
});

/**
 * Enables a disabled account: its tokens work again, except those that are revoked or expired themselves. Repeating the
 * call changes nothing.
 *
 * Fails    not_found | conflict { reason: "version" }
 * Effect   one row of accounts, one row of changes
 */
export const enable = operation({
  access: "write",
  input: z.strictObject({ accountId: Id, expectedVersion: Version.optional() }),
  output: Account,
  errors: ["not_found", "conflict"],
  *run({ accountId, expectedVersion }, { now, changed, counted }) {
    const before = yield* lockRow("account", accountId);
    if (before.disabled_at === null) return before;
    requireVersion(before, expectedVersion);
    const row = yield* one<AccountRow>(sql`
      UPDATE accounts SET
        disabled_at = NULL,
        version = version + 1,
        updated_at = ${now}
      WHERE id = ${accountId}
      RETURNING *`);
    counted("account", "disabled", "enabled");
    changed({ entity: "account", id: accountId, op: "enable", version: row.version });
    return row;
  },
});

/**
 * Renames an account, disabled or not. Its old name is free from then on. Repeating the call changes nothing.
 *
 * Input    name: 1 .. 200 characters, unique, ignoring case; the same name in other letter case is allowed
 * Fails    not_found | conflict { reason: "name", accountId } when another account has the name
 *          | conflict { reason: "version" }
 * Effect   one row of accounts, one row of changes
 * Cost     at most 3 statements by unique index
 */
export const rename = operation({
  access: "write",
  input: z.strictObject({ accountId: Id, name: Name, expectedVersion: Version.optional() }),
  output: Account,
  errors: ["not_found", "conflict"],
  *run({ accountId, name, expectedVersion }, { now, changed }) {
    const before = yield* lockRow("account", accountId);
    if (before.name === name) return before;
    requireVersion(before, expectedVersion);
    const key = nameKey(name);
    // Without a lock: two calls that swap names would lock the two rows in different orders.
    const other = yield* first<AccountRow>(sql`SELECT * FROM accounts WHERE name_key = ${key} AND id <> ${accountId}`);
    if (other !== undefined) nameTaken(name, other.id);
    const row = yield* one<AccountRow>(sql`
      UPDATE accounts SET
        name = ${name},
        name_key = ${key},
        version = version + 1,
        updated_at = ${now}
      WHERE id = ${accountId}
      RETURNING *`);
    const detail = changedFields({ name: "plain" }, before, row);
    changed({ entity: "account", id: accountId, op: "rename", version: row.version, detail });
    return row;
  },
});

/**
 * Returns one account.
 *
 * Fails    not_found
 * Cost     1 statement by primary key
 */
export const get = operation({
  access: "read",
  input: z.strictObject({ accountId: Id }),
  output: Account,
  errors: ["not_found"],
  *run({ accountId }) {
    return yield* getRow("account", accountId);
  },
});

/**
 * Returns the account with this name, ignoring case, or undefined. Disabled accounts are found too.
 *
 * Cost     1 statement by unique index
 */
export const find = operation({
  access: "read",
  input: z.strictObject({ name: Name }),
  output: optional(Account),
  errors: [],
  *run({ name }) {
    return yield* first<AccountRow>(sql`SELECT * FROM accounts WHERE name_key = ${nameKey(name)}`);
  },
});

/**
 * Lists accounts; disabled ones only with `includeDisabled`.
 *
 * Cost     1 statement along an index, at most `limit` rows
 */
export const list = operation({
  access: "read",
  input: listInput("account", { includeDisabled: z.boolean().default(false) }),
  output: page(Account),
  errors: [],
  *run(input) {
    return yield* listPage("account", input, {
      filters: { live: input.includeDisabled ? undefined : [sql`disabled_at IS NULL`] },
      indexes: [["live"]],
    });
  },
});
