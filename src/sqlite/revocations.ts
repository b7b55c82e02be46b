// Keeps what was revoked from coming back to life: a restore reads from the replaced database which tokens and accounts
// have ended since the backup, and ends them in the restored one too (D-091).

import Database from "better-sqlite3";
import { StoreError } from "../errors.ts";
import { translate } from "./errors.ts";

/** A token or account that works in the backup, and no longer worked in the replaced database. */
export interface Revocation {
  readonly entity: "token" | "account";
  readonly op: "revoke" | "rotate" | "disable";
  readonly id: string;
  readonly name: string;
  /** The name of the account. */
  readonly account: string;
  /** The time at which it was revoked or disabled, or at which a rotated token ends. */
  readonly at: Date;
}

type Row = Readonly<Record<string, string | number | null>>;

interface EndedToken {
  readonly id: string;
  readonly name: string;
  readonly account: string;
  readonly revoked_at: number | null;
  readonly revoked_reason: string | null;
  readonly rotated_to: string | null;
  readonly expires_at: number | null;
}

interface DisabledAccount {
  readonly id: string;
  readonly name: string;
  readonly disabled_at: number;
}

/** The tokens and accounts that have ended in a database. */
export interface Ended {
  readonly tokens: ReadonlyMap<string, EndedToken>;
  readonly accounts: ReadonlyMap<string, DisabledAccount>;
  /** The rows of tokens that replaced others. */
  readonly successors: ReadonlyMap<string, Row>;
  /** The ids of all tokens, if retention has removed others, which had ended. Undefined when it has removed none. */
  readonly left: ReadonlySet<string> | undefined;
}

/** Reads what has ended in a database. A schema from before tokens has nothing. Throws what SQLite throws. */
export function readEnded(db: Database.Database): Ended {
  if (!hasTokens(db)) return { tokens: new Map(), accounts: new Map(), successors: new Map(), left: undefined };
  const tokens = db
    .prepare(`
      SELECT tokens.id, tokens.name, accounts.name AS account, revoked_at, revoked_reason, rotated_to, expires_at
      FROM tokens JOIN accounts ON accounts.id = tokens.account_id
      WHERE revoked_at IS NOT NULL OR rotated_to IS NOT NULL
      ORDER BY tokens.created_at, tokens.id`)
    .all() as EndedToken[];
  const accounts = db
    .prepare("SELECT id, name, disabled_at FROM accounts WHERE disabled_at IS NOT NULL ORDER BY created_at, id")
    .all() as DisabledAccount[];
  const successors = db
    .prepare("SELECT * FROM tokens WHERE id IN (SELECT rotated_to FROM tokens WHERE rotated_to IS NOT NULL)")
    .all() as (Row & { readonly id: string })[];
  return { tokens: byId(tokens), accounts: byId(accounts), successors: byId(successors), left: tokensLeft(db) };
}

function tokensLeft(db: Database.Database): ReadonlySet<string> | undefined {
  if (db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'pruned'").get() === undefined)
    return undefined;
  if (db.prepare("SELECT 1 FROM pruned WHERE kind = 'tokens'").get() === undefined) return undefined;
  return new Set(db.prepare("SELECT id FROM tokens").pluck().all() as string[]);
}

function byId<Row extends { readonly id: string }>(rows: readonly Row[]): ReadonlyMap<string, Row> {
  return new Map(rows.map((row) => [row.id, row]));
}

function hasTokens(db: Database.Database): boolean {
  return db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'tokens'").get() !== undefined;
}

/**
 * Returns what has ended elsewhere and works in the copy of a backup, oldest first. With `keep` it ends there too: a
 * rotated token ends when it would have ended, and the tokens that replaced it are added. Nobody else has the copy open.
 *
 * Fails    incompatible when the copy does not take the rows
 * Effect   with keep: rows of tokens, accounts and changes, in one transaction
 */
export function carryOver(copy: string, ended: Ended, keep: boolean, now: Date): readonly Revocation[] {
  const db = new Database(copy, { fileMustExist: true });
  try {
    if (!hasTokens(db)) return [];
    const revocations = [...revivedTokens(db, ended), ...prunedTokens(db, ended, now), ...revivedAccounts(db, ended)];
    if (!keep || revocations.length === 0) return revocations;
    // A rotated token refers to its successor, which is added after it has given up its name.
    db.pragma("foreign_keys = OFF");
    db.transaction(() => {
      for (const revocation of revocations) apply(db, ended, revocation, now.getTime());
      if ((db.pragma("foreign_key_check(tokens)") as unknown[]).length > 0)
        throw new StoreError("incompatible", "a token refers to a row that the backup does not have");
    }).immediate();
    return revocations;
  } catch (error) {
    const failure = translate(error);
    if (failure.code === "storage_full" || failure.code === "corrupt") throw failure;
    throw new StoreError(
      "incompatible",
      `the revocations since the backup cannot be kept (${failure.message}): restore with --no-keep-revocations, then revoke again`,
      { cause: error },
    );
  } finally {
    db.close();
  }
}

function* revivedTokens(db: Database.Database, { tokens }: Ended): Generator<Revocation> {
  const find = db.prepare("SELECT revoked_at, rotated_to FROM tokens WHERE id = ?");
  for (const { id, name, account, revoked_at, rotated_to, expires_at } of tokens.values()) {
    const row = find.get(id) as Pick<EndedToken, "revoked_at" | "rotated_to"> | undefined;
    if (row === undefined) continue;
    const token = { entity: "token", id, name, account } as const;
    if (rotated_to !== null && row.rotated_to === null)
      yield { ...token, op: "rotate", at: new Date(expires_at as number) };
    if (revoked_at !== null && row.revoked_at === null) yield { ...token, op: "revoke", at: new Date(revoked_at) };
  }
}

/** Yields the tokens of a backup that retention has removed since: they had ended, and nobody knows any more when. */
function* prunedTokens(db: Database.Database, { left }: Ended, now: Date): Generator<Revocation> {
  if (left === undefined) return;
  const works = db.prepare(`
    SELECT tokens.id, tokens.name, accounts.name AS account
    FROM tokens JOIN accounts ON accounts.id = tokens.account_id
    WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)
    ORDER BY tokens.created_at, tokens.id`);
  for (const row of works.all(now.getTime()) as Pick<EndedToken, "id" | "name" | "account">[])
    if (!left.has(row.id)) yield { entity: "token", op: "revoke", ...row, at: now };
}

function* revivedAccounts(db: Database.Database, { accounts }: Ended): Generator<Revocation> {
  const find = db.prepare("SELECT 1 FROM accounts WHERE id = ? AND disabled_at IS NULL");
  for (const { id, name, disabled_at } of accounts.values())
    if (find.get(id) !== undefined)
      yield { entity: "account", op: "disable", id, name, account: name, at: new Date(disabled_at) };
}

function apply(db: Database.Database, ended: Ended, { entity, op, id }: Revocation, now: number): void {
  if (op === "disable") {
    const { disabled_at } = ended.accounts.get(id) as DisabledAccount;
    update(db, "accounts", id, now, { disabled_at });
    count(db, "account", "enabled", -1);
    count(db, "account", "disabled", 1);
  } else {
    const pruned = { revoked_at: now, revoked_reason: "pruned", rotated_to: null, expires_at: null };
    const { revoked_at, revoked_reason, rotated_to, expires_at } = ended.tokens.get(id) ?? pruned;
    const stateNow = () =>
      (db.prepare(`SELECT ${tokenState} AS state FROM tokens WHERE id = ?`).get(id) as { state: string }).state;
    count(db, "token", stateNow(), -1);
    update(db, "tokens", id, now, op === "revoke" ? { revoked_at, revoked_reason } : { rotated_to, expires_at });
    count(db, "token", stateNow(), 1);
    if (op === "rotate") addSuccessors(db, ended, rotated_to, now);
  }
  recordChange(db, entity, id, op, now);
}

function update(
  db: Database.Database,
  table: "tokens" | "accounts",
  id: string,
  now: number,
  values: Readonly<Record<string, string | number | null>>,
): void {
  const columns = Object.keys(values).map((name) => `${name} = @${name}`);
  db.prepare(`
    UPDATE ${table} SET
      ${columns.join(",\n      ")},
      version = version + 1,
      updated_at = @now
    WHERE id = @id`).run({ ...values, id, now });
}

/** Adds the token that replaced another one, the one that replaced that, and so on, as far as they are missing. */
function addSuccessors(db: Database.Database, { successors }: Ended, first: string | null, now: number): void {
  const known = new Set(db.prepare("SELECT name FROM pragma_table_info('tokens')").pluck().all() as string[]);
  for (
    let row = successors.get(first ?? "");
    row !== undefined;
    row = successors.get((row.rotated_to as string) ?? "")
  ) {
    if (db.prepare("SELECT 1 FROM tokens WHERE id = ?").get(row.id) !== undefined) return;
    // The two schemas may be of different revisions.
    const columns = Object.keys(row).filter((name) => known.has(name));
    db.prepare(
      `INSERT INTO tokens (${columns.join(", ")}) VALUES (${columns.map((name) => `@${name}`).join(", ")})`,
    ).run(row);
    count(db, "token", row.revoked_at !== null ? "revoked" : row.rotated_to !== null ? "rotated" : "live", 1);
    recordChange(db, "token", row.id as string, "mint", now);
  }
}

/** The state of a token under which it is counted. */
const tokenState =
  "CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN rotated_to IS NOT NULL THEN 'rotated' ELSE 'live' END";

/** Adds to a counter (D-111), unless the schema of the copy is from before there were some. */
function count(db: Database.Database, entity: Revocation["entity"], state: string, amount: number): void {
  if (db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'counters'").get() === undefined) return;
  db.prepare(`
    INSERT INTO counters (entity, state, amount) VALUES (?, ?, ?)
    ON CONFLICT (entity, state) DO UPDATE SET amount = amount + excluded.amount`).run(entity, state, amount);
}

function recordChange(db: Database.Database, entity: Revocation["entity"], id: string, op: string, now: number): void {
  db.prepare(`
    INSERT INTO changes (
      at,
      entity,
      entity_id,
      op,
      entity_version,
      actor
    ) SELECT
      @now,
      @entity,
      id,
      @op,
      version,
      'backup restore'
    FROM ${entity === "token" ? "tokens" : "accounts"} WHERE id = @id`).run({ now, entity, op, id });
}
