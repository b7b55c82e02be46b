// The commands of debug-server-db admin that issue, list and end tokens. A secret is printed once, and never read from
// an argument.
import { type Command, Option } from "commander";
import type { CallOptions } from "../client.ts";
import { StoreError } from "../errors.ts";
import { runnerScopes } from "../http/access.ts";
import { bounds } from "../limits.ts";
import type { Account } from "../model/accounts.ts";
import { newId } from "../model/ids.ts";
import type { MintedToken, Token } from "../model/tokens.ts";
import { type Scope, scopes, type TokenKind, tokenKinds } from "../model/vocabulary.ts";
import { tokenVariable } from "../place.ts";
import { present } from "../present.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { CliError } from "../terminal/exit.ts";
import { accountIdOf } from "./adminAccounts.ts";
import type { CommandLine } from "./commandLine.ts";
import { duration, formatDuration } from "./duration.ts";
import { collect } from "./pages.ts";
import { repositoryIdOf } from "./repositories.ts";
import { column, formatTime, printFields, printMessage, printPage, stateColumn, toJsonLine } from "./rows.ts";
import { openSecretOutlet } from "./secret.ts";
import { type ListFlags, listCommand, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

interface SecretFlags extends StoreFlags {
  readonly out?: string;
}

interface SeedFlags extends SecretFlags {
  readonly user: string;
  readonly name: string;
  readonly expiresIn?: number;
}

interface CreateTokenFlags extends SecretFlags {
  readonly user: string;
  readonly name?: string;
  readonly scopes?: readonly Scope[];
  readonly repository?: readonly string[];
  readonly expiresIn?: number;
  readonly kind: TokenKind;
}

interface RotateTokenFlags extends SecretFlags {
  readonly grace: number;
  readonly expiresIn?: number;
}

const id = "01890a5d-ac96-774b-bcce-b302099a8057";
const tenYearsMs = 315_360_000_000;

export function addTokens(admin: Command, cli: CommandLine): void {
  withSecret(
    storeCommand(
      admin,
      "seed",
      "Creates the first admin account and its token, and the database if there is none.",
      ["admin seed", "admin seed --out admin.token", "admin seed --url postgres://ops@db.example/metadata"],
      "Safe to repeat: while a live admin token exists, nothing is done and the exit code is 0. The secret is printed only once.",
    ),
  )
    .option("--user <name>", "the name of the account", "admin")
    .option("--name <name>", "the name of the token", "bootstrap")
    .addOption(lifetimeOption("the lifetime of the token (default: unlimited)"))
    .action(async (flags: SeedFlags) => {
      await visit(cli, flags, (store, options) => seed(cli, store, flags, options), { create: true });
    });

  withSecret(
    storeCommand(
      admin,
      "create-token",
      "Creates a token for an account, and the account if there is none of this name.",
      [
        "admin create-token --user ops",
        "admin create-token --user ci --kind runner --expires-in 30d --out ci.token",
        "admin create-token --user app --scopes repositories:read,sessions:read,sessions:write,commands:read,commands:write,logs:read",
        "admin create-token --user app --repository demo --scopes sessions:read,logs:read",
      ],
      `Scopes: ${scopes.join(", ")}.\nThe token in DEBUG_SERVER_DB_TOKEN issues it, or else the first live admin token. Without either it is issued all the same, because whoever can open the store may do anything with it. The secret is printed only once.`,
    ),
  )
    .requiredOption("--user <name>", "the name of the account")
    .option("--name <name>", "the name of the token (default: cli- and the date, with a number if it is taken)")
    .option(
      "--scopes <scopes>",
      "its permissions, separated by commas (default: all that end in :read; for a runner, what it needs)",
      parseScopes,
    )
    .option("--repository <name...>", "only this repository, or these: nothing else is within its reach")
    .addOption(lifetimeOption("the lifetime of the token (default: unlimited)"))
    .addOption(new Option("--kind <kind>", "the kind of its holder").choices(tokenKinds).default("personal"))
    .action(async (flags: CreateTokenFlags) => {
      await visit(cli, flags, (store, options) =>
        deliver(cli, flags, async () => {
          const minted = await mint(cli, store, flags, options);
          const { token } = minted;
          const permissions = token.scopes.join(", ");
          return {
            minted,
            message: `Token ${token.name} of ${flags.user}, id ${token.id}: ${permissions}; ${describeExpiry(token)}`,
          };
        }),
      );
    });

  listCommand(
    admin,
    "tokens without their secrets",
    ["admin list-tokens", "admin list-tokens --user ops --json"],
    "list-tokens",
  )
    .option("--user <name>", "only of this account")
    .action(async (flags: ListFlags & { user?: string }) => {
      await visit(cli, flags, (store) => listTokens(cli, store, flags));
    });

  withSecret(
    storeCommand(admin, "rotate-token", "Replaces a token with a new one that has the same name and scopes.", [
      `admin rotate-token ${id}`,
      `admin rotate-token ${id} --grace 0s --out new.token`,
    ]),
  )
    .argument("<id>", "the id of the token, as list-tokens prints it")
    .addOption(
      new Option("--grace <time>", "how long the old token stays valid")
        .default(3_600_000, "1h")
        .argParser(duration(0, 2_592_000_000)),
    )
    .addOption(lifetimeOption("the lifetime of the new token (default: that of the old one)"))
    .action(async (tokenId: string, flags: RotateTokenFlags) => {
      const input = { tokenId, graceMs: flags.grace, ...present({ ttlMs: flags.expiresIn }) };
      await visit(cli, flags, (store, options) =>
        deliver(cli, flags, async () => {
          const minted = await store.tokens.rotate(input, options);
          const { token } = minted;
          const grace = formatDuration(flags.grace);
          return {
            minted,
            message: `Token ${token.name} is now ${token.id}; ${describeExpiry(token)}. The old token is valid for at most ${grace} more.`,
          };
        }),
      );
    });

  storeCommand(admin, "revoke-token", "Revokes a token at once. Repeating it changes nothing.", [
    `admin revoke-token ${id} --reason "laptop lost"`,
  ])
    .argument("<id>", "the id of the token, as list-tokens prints it")
    .option("--reason <text>", "the reason, stored with the token")
    .action(async (tokenId: string, flags: StoreFlags & { reason?: string }) => {
      const token = await visit(cli, flags, (store, options) =>
        store.tokens.revoke({ tokenId, ...present({ reason: flags.reason }) }, options),
      );
      printFields(cli, flags, token, {
        revoked: token.name,
        id: token.id,
        at: formatTime(token.revokedAt),
        reason: token.revokedReason,
      });
    });
}

function withSecret(command: Command): Command {
  return command.option("--out <file>", "write the secret to a new file with mode 0600 instead of stdout");
}

function lifetimeOption(description: string): Option {
  return new Option("--expires-in <time>", description).argParser(duration(1_000, tenYearsMs));
}

function parseScopes(text: string): readonly Scope[] {
  const words = text.split(",").map((scope) => scope.trim());
  const unknown = words.find((word) => !(scopes as readonly string[]).includes(word));
  if (unknown !== undefined)
    throw new CliError("usage", `--scopes: there is no scope ${unknown}; known are ${scopes.join(", ")}`);
  return words as Scope[];
}

async function seed(cli: CommandLine, store: OwnedStore, flags: SeedFlags, options: CallOptions): Promise<void> {
  const nothingDone = "An admin token already exists: nothing was done.";
  // Looked up first, because the file of a repeated call exists.
  if ((await adminTokenOf(store)) !== undefined) {
    printMessage(cli, flags, nothingDone);
    return;
  }
  const input = { accountName: flags.user, name: flags.name, ...present({ ttlMs: flags.expiresIn }) };
  try {
    await deliver(cli, flags, async () => {
      const minted = await store.tokens.bootstrapAdmin(input, options);
      const { token } = minted;
      return {
        minted,
        message: `Admin token ${token.name} of ${flags.user}, id ${token.id}; ${describeExpiry(token)}`,
      };
    });
  } catch (error) {
    if (!(error instanceof StoreError && error.details.reason === "admin_exists")) throw error;
    printMessage(cli, flags, nothingDone);
  }
}

interface Delivery {
  readonly minted: MintedToken;
  readonly message: string;
}

/** Delivers a new secret, alone on stdout or in the file. With --json, stdout receives the row as well. */
async function deliver(cli: CommandLine, flags: SecretFlags, mintToken: () => Promise<Delivery>): Promise<void> {
  const outlet = openSecretOutlet(cli, flags.out);
  const { minted, message } = await mintToken().catch((error) => {
    outlet.discard();
    throw error;
  });
  const { token, secret } = minted;
  const text = flags.json && flags.out === undefined ? toJsonLine({ token, secret }).trimEnd() : (secret as string);
  const isDelivered = await outlet.deliver(text);
  if (flags.json && flags.out !== undefined) cli.stdout.write(toJsonLine({ token, out: flags.out }));
  printMessage(cli, flags, message);
  if (!isDelivered)
    printMessage(
      cli,
      flags,
      "Nobody has read the secret: revoke the token with admin revoke-token, and create another.",
    );
}

/** Creates a token, under another name when another process has just taken the one that was chosen here. */
async function mint(
  cli: CommandLine,
  store: OwnedStore,
  flags: CreateTokenFlags,
  options: CallOptions,
): Promise<MintedToken> {
  for (let triesLeft = 5; ; triesLeft--) {
    const issuer = await issuerOf(cli, store);
    const account = await store.accounts.find({ name: flags.user });
    try {
      return await mintOnce(store, { issuer, account, flags }, options);
    } catch (error) {
      const isRace =
        error instanceof StoreError &&
        (error.details.reason === "admin_exists" || (error.details.reason === "name" && flags.name === undefined));
      if (!isRace || triesLeft === 0) throw error;
    }
  }
}

interface Order {
  /** The id of the token that issues the new one; undefined while no live admin token exists. */
  readonly issuer: string | undefined;
  /** Undefined when it is to be created. */
  readonly account: Account | undefined;
  readonly flags: CreateTokenFlags;
}

/**
 * Creates a token, together with its account if that is missing: a refused token leaves no account behind. Where no
 * admin token could issue it, an admin token does that exists only within the same transaction and whose secret nobody
 * gets, so that the new token never covers more than what was asked for (D-070).
 */
async function mintOnce(store: OwnedStore, { issuer, account, flags }: Order, options: CallOptions) {
  const createdBy = issuer ?? newId();
  const accountId = account?.id ?? newId();
  const { repository } = flags;
  const repositoryIds = repository && (await Promise.all(repository.map((one) => repositoryIdOf(store, one))));
  const order = {
    accountId,
    createdBy,
    kind: flags.kind,
    name: flags.name ?? (await unusedName(store, account)),
    scopes: [...(flags.scopes ?? defaultScopes(flags.kind))],
    ...present({ ttlMs: flags.expiresIn, repositoryIds: repositoryIds }),
  };
  const accountKind = flags.kind === "runner" ? "runner" : "human";
  const results = await store.atomically<unknown[]>((tx) => {
    if (account === undefined) tx.accounts.create({ id: accountId, name: flags.user, kind: accountKind });
    if (issuer === undefined)
      tx.tokens.bootstrapAdmin({ id: createdBy, accountName: flags.user, name: `issuer ${createdBy}` });
    tx.tokens.mint(order);
    if (issuer === undefined) tx.tokens.revoke({ tokenId: createdBy, reason: "it was made to issue one token" });
  }, options);
  return results.at(issuer === undefined ? -2 : -1) as MintedToken;
}

/** Returns the scopes of a token for which none are named: what a runner needs, or all that only read. */
function defaultScopes(kind: TokenKind): readonly Scope[] {
  return kind === "runner" ? runnerScopes : scopes.filter((scope) => scope.endsWith(":read"));
}

/** Returns the first of cli-DATE, cli-DATE-2 and so on that no live token of the account has. */
async function unusedName(store: OwnedStore, account: Account | undefined): Promise<string> {
  const first = `cli-${new Date().toISOString().slice(0, 10)}`;
  const taken = new Set<string>();
  if (account !== undefined)
    for await (const token of store.tokens.all({ accountId: account.id, limit: bounds.pageRowsMax }))
      if (stateOf(token) === "live") taken.add(token.name);
  let name = first;
  for (let number = 2; taken.has(name); number++) name = `${first}-${number}`;
  return name;
}

/**
 * Returns the token that issues others: the one in the environment, or else the first live admin token. Access to the
 * database implies the rights of an admin (D-070).
 */
async function issuerOf({ env }: CommandLine, store: OwnedStore): Promise<string | undefined> {
  const ownToken = env[tokenVariable]?.trim() ?? "";
  if (ownToken === "") return await adminTokenOf(store);
  try {
    return (await store.tokens.verify({ token: ownToken })).tokenId;
  } catch (error) {
    throw error instanceof StoreError ? new CliError("failure", `${tokenVariable}: ${error.message}`) : error;
  }
}

/**
 * Returns the id of the first live admin token, or else of one that was rotated and is still valid; undefined when there
 * is none. What a rotated one issues ends with it.
 */
async function adminTokenOf(store: OwnedStore): Promise<string | undefined> {
  const disabledAccounts = new Set<string>();
  for await (const account of store.accounts.all({ includeDisabled: true, limit: bounds.pageRowsMax }))
    if (account.disabledAt !== null) disabledAccounts.add(account.id);
  let rotated: string | undefined;
  for await (const token of store.tokens.all({ limit: bounds.pageRowsMax })) {
    if (disabledAccounts.has(token.accountId) || !token.scopes.includes("admin")) continue;
    const state = stateOf(token);
    if (state === "live") return token.id;
    if (state === "rotated") rotated ??= token.id;
  }
  return rotated;
}

async function listTokens(cli: CommandLine, store: OwnedStore, flags: ListFlags & { user?: string }): Promise<void> {
  const filter = flags.user === undefined ? {} : { accountId: await accountIdOf(store, flags.user) };
  const page = await collect(flags, (paged) => store.tokens.list({ ...filter, ...paged }));
  const accountIds = [...new Set(page.items.map(({ accountId }) => accountId))];
  const accounts = await Promise.all(accountIds.map((accountId) => store.accounts.get({ accountId })));
  const names = new Map(accounts.map(({ id, name }) => [id, name]));
  printPage(cli, flags, page, (rows) => [
    column("id", rows, ({ id }) => id),
    column("account", rows, ({ accountId }) => names.get(accountId)),
    column("name", rows, ({ name }) => name),
    column("begins", rows, ({ hint }) => hint, { optional: true }),
    column("kind", rows, ({ kind }) => kind, { optional: true }),
    stateColumn(rows, stateOf),
    column("expires", rows, ({ expiresAt }) => formatTime(expiresAt), { optional: true }),
    column("last used", rows, ({ lastUsedAt }) => formatTime(lastUsedAt), { optional: true }),
    column(
      "reaches",
      rows,
      ({ repositoryIds, sessionId }) => (sessionId === null ? repositoryIds?.join(" ") : `session ${sessionId}`),
      { optional: true },
    ),
    column("scopes", rows, ({ scopes: permissions }) => permissions.join(" ")),
  ]);
}

function stateOf({ revokedAt, expiresAt, rotatedTo }: Token): string {
  if (revokedAt !== null) return "revoked";
  if (expiresAt !== null && expiresAt.getTime() <= Date.now()) return "expired";
  return rotatedTo === null ? "live" : "rotated";
}

function describeExpiry({ expiresAt }: Token): string {
  return expiresAt === null ? "does not expire" : `expires ${formatTime(expiresAt)}`;
}
