// The model of tokens. The secret of a token is random, so the model learns it from the answer (State.secrets).
import { accountNamed } from "./accounts.ts";
import { byId, fits, page, wholePage } from "./lists.ts";
import { modelOf } from "./operation.ts";
import type { Picks } from "./picks.ts";
import {
  type Account,
  Failure,
  get,
  raised,
  requireVersion,
  type State,
  stamped,
  type Token,
  tickMs,
} from "./state.ts";

type Scope = Token["scopes"][number];

const names = ["laptop", "ci"] as const;
const scopeSets: readonly (readonly Scope[])[] = [
  ["sessions:read"],
  ["tokens:write", "sessions:read"],
  ["admin"],
  ["sessions:write"],
  ["admin", "sessions:read"],
];
/** The time for which an old token keeps working when a rotation names none: one hour. */
const graceMs = 3_600_000;

const isExpired = ({ expiresAt }: Token, now: number): boolean => expiresAt !== null && expiresAt <= now;

const isLive = (row: Token, now: number): boolean =>
  row.revokedAt === null && row.rotatedTo === null && !isExpired(row, now);

/** Returns the scopes as they are stored: each once, in order, and `admin` alone. */
function normalized(scopes: readonly Scope[]): Scope[] {
  return scopes.includes("admin") ? ["admin"] : [...new Set(scopes)].toSorted();
}

function requireScopes(has: readonly Scope[], wanted: readonly Scope[]): void {
  const missing = has.includes("admin") ? [] : wanted.filter((scope) => !has.includes(scope));
  if (missing.length > 0) throw new Failure("scope_missing", { missing });
}

/** Returns the account of a token that may be used. */
function requireUsable(state: State, token: Token): Account {
  if (token.revokedAt !== null) throw new Failure("token_revoked", { revokedAt: token.revokedAt });
  const account = state.accounts.get(token.accountId) as Account;
  if (account.disabledAt !== null) throw new Failure("token_revoked", { reason: "account_disabled" });
  if (isExpired(token, state.now)) throw new Failure("token_expired", { expiredAt: token.expiresAt });
  return account;
}

/** Takes the name of a token. One that has expired gives it up for good, even if the clock is set back later. */
function takeName(state: State, accountId: string, name: string): void {
  for (const row of [...state.tokens.values()]) {
    if (row.accountId !== accountId || row.name !== name || row.hidden.hasGivenUpName) continue;
    if (isLive(row, state.now)) throw new Failure("conflict", { reason: "name" });
    state.put("tokens", row.id, { ...row, hidden: { hasGivenUpName: true } });
  }
}

function save(state: State, row: Token, op: string): Token {
  state.put("tokens", row.id, row);
  state.change("token", row, op);
  return row;
}

type New = Pick<Token, "id" | "accountId" | "kind" | "name" | "scopes" | "createdBy" | "expiresAt"> &
  Partial<Pick<Token, "repositoryIds" | "sessionId">>;

/** Ends the tokens of a session that ends, in the order of their ids. */
export function endTokensOf(state: State, sessionId: string): void {
  const live = [...state.tokens.values()].filter((row) => row.sessionId === sessionId && !isExpired(row, state.now));
  for (const row of live.toSorted((left, right) => (left.id < right.id ? -1 : 1)))
    save(state, raised(row, { expiresAt: state.now }, state.now), "end");
}

/** Returns the repositories that a new token reaches. */
function reachedRepositories(
  state: State,
  creator: Token,
  wanted: readonly string[] | undefined,
  scopes: readonly Scope[],
): string[] | null {
  const ids = wanted === undefined ? creator.repositoryIds : [...new Set(wanted)].toSorted();
  if ((ids !== null || creator.sessionId !== null) && scopes.includes("admin")) throw new Failure("invalid_input");
  for (const id of ids ?? []) {
    if (creator.repositoryIds?.includes(id) === false) throw new Failure("out_of_reach", { limit: "repositories" });
    get(state.repositories, "repository", id);
  }
  return ids;
}

function add(state: State, fields: New, op: "mint" | "bootstrap" = "mint") {
  const unused = { rotatedTo: null, revokedAt: null, revokedReason: null, lastUsedAt: null };
  const limits = { repositoryIds: null, sessionId: null };
  const shown = { ...limits, ...fields, ...unused, publicId: "", hint: "", ...stamped(state.now) };
  takeName(state, fields.accountId, fields.name);
  const row: Token = { ...shown, hidden: { hasGivenUpName: false } };
  return { token: save(state, row, op), secret: "a secret" };
}

/** Returns an answer without what is random, and without the time of last use, which is written at some later time. */
function comparable(answer: unknown): unknown {
  if (typeof answer !== "object" || answer === null) return answer;
  if ("secret" in answer && "token" in answer)
    return { token: comparable(answer.token), secret: typeof answer.secret === "string" ? "a secret" : answer.secret };
  return "publicId" in answer ? comparableToken(answer) : answer;
}

/** Returns the row of a token without what is random, and without the time of last use. */
export const comparableToken = (row: object) => ({ ...row, publicId: "", hint: "", lastUsedAt: null });

/** A secret is in the first answer only. */
const withoutSecret = (answer: unknown) => ({ ...(answer as object), secret: undefined });

const expiryAfter = (state: State, ttlMs: number | undefined) => (ttlMs === undefined ? null : state.now + ttlMs);

const earlier = (one: number | null, other: number | null): number | null =>
  one === null || other === null ? (one ?? other) : Math.min(one, other);

const isUsable = (row: Token, now: number) => row.revokedAt === null && !isExpired(row, now);

function one(picks: Picks, state: State) {
  const row = picks.row(state.tokens, (token) => isUsable(token, state.now));
  return { tokenId: picks.idOf(row), ...picks.version(row) };
}

export const tokens = modelOf("tokens", {
  mint: {
    weight: 4,
    input: (picks, state) => ({
      id: picks.newId(),
      accountId: picks.id(state.accounts, ({ disabledAt }) => disabledAt === null),
      name: picks.of(names),
      scopes: [...picks.of(scopeSets)],
      ...picks.optional("ttlMs", picks.of([4, 12]) * tickMs),
      ...picks.optional("kind", "runner" as const, 4),
      ...picks.optional("repositoryIds", [picks.id(state.repositories)], 4),
      createdBy: picks.id(state.tokens, (row) => isUsable(row, state.now) && row.scopes.includes("admin")),
    }),
    run({ id = "", accountId, name, scopes, repositoryIds: wanted, ttlMs, kind = "personal", createdBy }, state) {
      const account = get(state.accounts, "account", accountId);
      const creator = get(state.tokens, "token", createdBy);
      if (account.disabledAt !== null)
        throw new Failure("invalid_transition", { entity: "account", state: "disabled" });
      requireUsable(state, creator);
      requireScopes(creator.scopes, [...new Set<Scope>(["tokens:write", ...normalized(scopes)])]);
      const repositoryIds = reachedRepositories(state, creator, wanted, scopes);
      const expiresAt = earlier(expiryAfter(state, ttlMs), creator.expiresAt);
      const limits = { repositoryIds, sessionId: creator.sessionId };
      return add(state, { id, accountId, kind, name, scopes: normalized(scopes), ...limits, createdBy, expiresAt });
    },
    ordered: comparable,
    withoutSecret,
  },
  mintForSession: {
    weight: 3,
    input: (picks, state) => ({
      id: picks.newId(),
      sessionId: picks.id(state.sessions, ({ endedAt }) => endedAt === null),
      ...picks.optional("name", picks.of(names)),
      scopes: [...picks.of(scopeSets)],
      ...picks.optional("ttlMs", picks.of([4, 12]) * tickMs),
      createdBy: picks.id(state.tokens, (row) => isUsable(row, state.now)),
    }),
    run({ id = "", sessionId, name = sessionId, scopes, ttlMs, createdBy }, state) {
      const session = get(state.sessions, "session", sessionId);
      const creator = get(state.tokens, "token", createdBy);
      requireUsable(state, creator);
      requireScopes(creator.scopes, normalized(scopes));
      if (session.accountId !== null && session.accountId !== creator.accountId)
        requireScopes(creator.scopes, ["sessions:any"]);
      if (creator.sessionId !== null && creator.sessionId !== sessionId)
        throw new Failure("out_of_reach", { limit: "session" });
      const repositoryIds = reachedRepositories(state, creator, undefined, scopes);
      // A token that reaches one session cannot have the scope admin.
      if (scopes.includes("admin")) throw new Failure("invalid_input");
      if (repositoryIds?.includes(session.repositoryId) === false)
        throw new Failure("out_of_reach", { limit: "repositories" });
      if (session.endedAt !== null)
        throw new Failure("invalid_transition", { entity: "session", state: session.state });
      const expiresAt = earlier(expiryAfter(state, ttlMs), creator.expiresAt);
      const { accountId } = creator;
      const shown = { id, accountId, kind: "personal", name, scopes: normalized(scopes) } as const;
      return add(state, { ...shown, repositoryIds, sessionId, createdBy, expiresAt });
    },
    ordered: comparable,
    withoutSecret,
  },
  verify: {
    weight: 5,
    input(picks, state) {
      const known = [...state.secrets.keys()].reverse();
      const token = picks.oneIn(9) ? picks.of(["", "dsp_none"]) : (known[picks.number() % known.length] ?? "");
      return { token, ...picks.optional("scopes", [...picks.of(scopeSets)]) };
    },
    run({ token: text, scopes = [] }, state) {
      const id = state.secrets.get(text);
      if (id === undefined) throw new Failure("token_malformed");
      const token = state.tokens.get(id);
      if (token === undefined) throw new Failure("token_unknown");
      const { kind, repositoryIds, sessionId, expiresAt } = token;
      const { id: accountId, name, kind: accountKind } = requireUsable(state, token);
      requireScopes(token.scopes, normalized(scopes));
      const account = { id: accountId, name, kind: accountKind };
      return { tokenId: id, kind, scopes: token.scopes, repositoryIds, sessionId, expiresAt, account };
    },
  },
  rotate: {
    weight: 2,
    input: (picks, state) => ({
      id: picks.newId(),
      ...one(picks, state),
      ...picks.optional("graceMs", picks.of([0, 2]) * tickMs),
      ...picks.optional("ttlMs", picks.of([4, 12]) * tickMs, 3),
    }),
    run({ id = "", tokenId, graceMs: grace = graceMs, ttlMs, expectedVersion }, state) {
      const before = get(state.tokens, "token", tokenId);
      if (before.rotatedTo !== null) throw new Failure("conflict", { reason: "rotated", rotatedTo: before.rotatedTo });
      requireVersion(before, expectedVersion);
      requireUsable(state, before);
      const lifetimeMs = before.expiresAt === null ? undefined : before.expiresAt - before.createdAt;
      const expiresAt = earlier(before.expiresAt, state.now + grace);
      save(state, raised(before, { rotatedTo: id, expiresAt }, state.now), "rotate");
      const { accountId, kind, name, scopes, repositoryIds, sessionId, createdBy } = before;
      return add(state, {
        repositoryIds,
        sessionId,
        id,
        accountId,
        kind,
        name,
        scopes,
        createdBy,
        expiresAt: expiryAfter(state, ttlMs ?? lifetimeMs),
      });
    },
    ordered: comparable,
    withoutSecret,
  },
  revoke: {
    weight: 2,
    input: (picks, state) => ({ ...one(picks, state), ...picks.optional("reason", "lost") }),
    run({ tokenId, reason, expectedVersion }, state) {
      const before = get(state.tokens, "token", tokenId);
      if (before.revokedAt !== null) return before;
      requireVersion(before, expectedVersion);
      const revoked = { revokedAt: state.now, revokedReason: reason ?? null };
      return save(state, raised(before, revoked, state.now), "revoke");
    },
    ordered: comparable,
  },
  list: {
    input: (picks, state) => ({ ...wholePage, ...picks.optional("accountId", picks.id(state.accounts)) }),
    run: ({ accountId }, state) => page(state.tokens, (row) => fits(accountId, row.accountId)),
    ordered(answer) {
      const listed = byId(answer) as { readonly items?: readonly object[] } | undefined;
      return listed?.items === undefined ? listed : { ...listed, items: listed.items.map(comparableToken) };
    },
  },
  bootstrapAdmin: {
    weight: 2,
    // The account is there: the id of a new one would be random.
    isAlone: true,
    input: (picks, state) => ({
      id: picks.newId(),
      accountName: picks.row(state.accounts)?.name ?? [...state.accounts.values()][0]?.name ?? "",
      name: picks.of(names),
      ...picks.optional("ttlMs", 12 * tickMs, 3),
    }),
    run({ id = "", accountName = "admin", name = "bootstrap", ttlMs }, state) {
      const isAdmin = (row: Token) =>
        row.scopes.includes("admin") &&
        isUsable(row, state.now) &&
        state.accounts.get(row.accountId)?.disabledAt === null;
      if ([...state.tokens.values()].some(isAdmin)) throw new Failure("conflict", { reason: "admin_exists" });
      const account = accountNamed(state, accountName) as Account;
      if (account.disabledAt !== null)
        throw new Failure("invalid_transition", { entity: "account", state: "disabled" });
      const fields = { id, accountId: account.id, kind: "personal", name, createdBy: null } as const;
      return add(state, { ...fields, scopes: ["admin"], expiresAt: expiryAfter(state, ttlMs) }, "bootstrap");
    },
    ordered: comparable,
    withoutSecret,
  },
});
