// The authority of a token over a call: whether it is live, covers the scopes, and reaches the rows that the input names.
import { parseScopes, type TokenRow } from "../model/tokens.ts";
import { fail } from "../operation.ts";
import { first, type Statement, sql, step } from "../sql.ts";
import { covers, isForLimited, isOfOwner, neededScopes, ownTokenFields } from "./scopes.ts";
import { parseRepositoryIds, requireLive, type TokenOfAccount } from "./tokenState.ts";

type Input = Readonly<Record<string, unknown>>;

/** The session, repository and account to which a row belongs, as far as it belongs to one. */
interface Belonging {
  readonly session_id: string | null;
  readonly repository_id: string;
  readonly account_id: string | null;
}

const ofSession = sql`sessions.id AS session_id, sessions.repository_id, sessions.account_id`;

/** The statement that finds to what the row in a field of an input belongs. */
const statements = {
  sessionId: (id) => sql`SELECT ${ofSession} FROM sessions WHERE id = ${id}`,
  commandId: (id) => sql`
    SELECT ${ofSession} FROM commands JOIN sessions ON sessions.id = commands.session_id WHERE commands.id = ${id}`,
  artifactId: (id) => sql`
    SELECT ${ofSession} FROM artifacts JOIN sessions ON sessions.id = artifacts.session_id WHERE artifacts.id = ${id}`,
  debugSessionId: (id) => sql`
    SELECT ${ofSession} FROM debug_sessions JOIN sessions ON sessions.id = debug_sessions.session_id
    WHERE debug_sessions.id = ${id}`,
  requestId: (id) => sql`
    SELECT ${ofSession} FROM debug_requests
    JOIN debug_sessions ON debug_sessions.id = debug_requests.debug_session_id
    JOIN sessions ON sessions.id = debug_sessions.session_id
    WHERE debug_requests.id = ${id}`,
  // A session has the worktree that its row names, also after its end.
  worktreeId: (id, { session_id }) => sql`
    SELECT
      worktrees.repository_id,
      (SELECT id FROM sessions WHERE id = ${session_id} AND worktree_id = worktrees.id) AS session_id,
      NULL AS account_id
    FROM worktrees WHERE worktrees.id = ${id}`,
  environmentId: (id) => sql`
    SELECT NULL AS session_id, repository_id, NULL AS account_id FROM environments WHERE id = ${id}`,
  repositoryId: (id) =>
    sql`SELECT NULL AS session_id, id AS repository_id, NULL AS account_id FROM repositories WHERE id = ${id}`,
} satisfies Record<string, (id: string, token: TokenRow) => Statement>;

export type ReachField = keyof typeof statements;

/** The fields of inputs that name rows which belong to a session or a repository. */
export const reachFields = Object.keys(statements) as readonly ReachField[];

/** A row that an input names, and to what it belongs; undefined for one that does not exist. */
interface Named {
  readonly field: ReachField;
  readonly id: string;
  readonly belongs: Belonging | undefined;
}

/** The facts that decide whether a token may make a call. */
export interface Authority {
  readonly operation: string;
  readonly input: Input;
  readonly now: Date;
  readonly token: TokenOfAccount | undefined;
  /** The rows that the input names, if it depends on them. */
  readonly named: readonly Named[];
}

/** Reads the facts that decide whether a token may make a call: at most 1 statement by key, and one for each row that the input names. */
export const findAuthority = step(function* (tokenId: string, operation: string, input: Input, now: Date) {
  const token = yield* first<TokenOfAccount>(sql`
    SELECT
      tokens.*,
      accounts.name AS account_name,
      accounts.kind AS account_kind,
      accounts.disabled_at AS account_disabled_at
    FROM tokens JOIN accounts ON accounts.id = tokens.account_id
    WHERE tokens.id = ${tokenId}`);
  const named: Named[] = [];
  if (token !== undefined && (isLimited(token) || isForOwner(token, operation)))
    for (const field of reachFields)
      for (const id of [input[field] ?? []].flat() as unknown as readonly string[])
        named.push({ field, id, belongs: yield* first<Belonging>(statements[field](id, token)) });
  return { operation, input, now, token, named } satisfies Authority;
});

/**
 * Fails unless a token may make a call: with `token_unknown`, `token_revoked`, `token_expired`, `scope_missing`, or
 * `out_of_reach`. A row that does not exist is nobody's: the operation itself says so.
 */
export function requireAuthority({ operation, input, now, token, named }: Authority): void {
  if (token === undefined) fail("token_unknown");
  requireLive(token, now);
  requireScopes(token, operation, input);
  // What a token may do to itself is within its reach.
  if (isLimited(token) && named.length === 0 && ownTokenFields[operation] === undefined) outOfReach(token, undefined);
  if (isLimited(token) && !isForLimited(operation)) outOfReach(token, undefined);
  const repositoryIds = parseRepositoryIds(token.repository_ids);
  for (const one of named) {
    const { field, id, belongs } = one;
    if (belongs === undefined) continue;
    if (token.session_id !== null && belongs.session_id !== token.session_id) outOfReach(token, one);
    if (repositoryIds !== null && !repositoryIds.includes(belongs.repository_id)) outOfReach(token, one);
    if (isForOwner(token, operation) && belongs.account_id !== null && belongs.account_id !== token.account_id)
      fail("scope_missing", { missing: ["sessions:any"], field, id }, `${field} ${id} belongs to another account`);
  }
}

function isLimited({ session_id, repository_ids }: TokenRow): boolean {
  return session_id !== null || repository_ids !== null;
}

/** Checks whether the token may do this only to sessions of its own account. */
function isForOwner({ scopes }: TokenRow, operation: string): boolean {
  return isOfOwner(operation) && !covers(parseScopes(scopes), "sessions:any");
}

function requireScopes({ id, scopes }: TokenRow, operation: string, input: Input): void {
  const granted = parseScopes(scopes);
  const needed = neededScopes(operation, input);
  if (needed === null) fail("scope_missing", { missing: ["admin"] }, `no token may call ${operation}`);
  const missing = needed.map(({ scope }) => scope).filter((scope) => !covers(granted, scope));
  if (missing.length > 0) fail("scope_missing", { missing }, `the token does not cover ${missing.join(" and ")}`);
  const own = ownTokenFields[operation];
  if (own !== undefined && input[own] !== id && !granted.includes("admin"))
    fail("scope_missing", { missing: ["admin"] }, `${own}: only a token with the scope admin can name another one`);
}

function outOfReach(token: TokenOfAccount, named: Named | undefined): never {
  const limit = token.session_id === null ? "repositories" : "session";
  const where = limit === "session" ? `session ${token.session_id}` : "some repositories";
  const what = named === undefined ? "this call names none" : `${named.field} ${named.id} is outside`;
  const details = named === undefined ? { limit } : { limit, field: named.field, id: named.id };
  fail("out_of_reach", details, `the token is limited to ${where}, and ${what}`);
}
