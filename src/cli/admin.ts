// debug-server-db admin: accounts and tokens. A secret is shown once, alone, and none is taken from an argument.
import { type Command, Option } from "commander";
import type { CallOptions } from "../client.ts";
import { StoreError } from "../errors.ts";
import { bounds } from "../limits.ts";
import type { Account } from "../model/accounts.ts";
import { newId } from "../model/ids.ts";
import type { MintedToken, Token } from "../model/tokens.ts";
import { accountKinds, type Scope, scopes, type TokenKind, tokenKinds } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { CliError } from "../terminal/exit.ts";
import type { CommandLine } from "./commandLine.ts";
import { duration, formatDuration } from "./duration.ts";
import { collect, type PageFlags, withPages } from "./pages.ts";
import { column, formatTime, printFields, printMessage, printPage, stateColumn, toJsonLine } from "./rows.ts";
import { openOutlet } from "./secret.ts";
import { commandGroup, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

interface SecretFlags extends StoreFlags {
  readonly out?: string;
}

interface CreateTokenFlags extends SecretFlags {
  readonly user: string;
  readonly name?: string;
  readonly scopes?: readonly Scope[];
  readonly expiresIn?: number;
  readonly kind: TokenKind;
}

const yearsMs = 315_360_000_000;

export function addAdmin(program: Command, cli: CommandLine): void {
  const admin = commandGroup(program, "admin", "Accounts and tokens.", [
    "admin seed --out admin.token",
    "admin create-token --user ops",
    "admin list-tokens",
  ]);

  withSecret(
    storeCommand(
      admin,
      "seed",
      "Makes the first admin account and its token, and the database when there is none.",
      seedExamples,
      seedNote,
    ),
  )
    .option("--user <name>", "the account", "admin")
    .option("--name <name>", "the token", "bootstrap")
    .addOption(expiry("when the token expires; it does not unless set"))
    .action(async (flags: SecretFlags & { user: string; name: string; expiresIn?: number }) => {
      await visit(cli, flags, (store, options) => seed(cli, store, flags, options), { create: true });
    });

  withSecret(
    storeCommand(
      admin,
      "create-token",
      "Makes a token for an account, and the account when there is none of this name.",
      createTokenExamples,
      tokenNote,
    ),
  )
    .requiredOption("--user <name>", "the account")
    .option("--name <name>", "the token (default: cli- and the date)")
    .option(
      "--scopes <scopes>",
      "what it may do, separated by commas (default: everything that ends in :read)",
      parseScopes,
    )
    .addOption(expiry("when it expires; it does not unless set"))
    .addOption(new Option("--kind <kind>", "whose it is").choices(tokenKinds).default("personal"))
    .action(async (flags: CreateTokenFlags) => {
      await visit(cli, flags, (store, options) =>
        handOver(cli, flags, async () => {
          const made = await mint(cli, store, flags, options);
          return {
            made,
            message: (token) =>
              `Token ${token.name} of ${flags.user}, id ${token.id}: ${token.scopes.join(", ")}; ${expiryOf(token)}`,
          };
        }),
      );
    });

  withPages(storeCommand(admin, "list-tokens", "Lists tokens, the oldest first; never a secret.", listTokensExamples))
    .option("--user <name>", "of this account only")
    .action(async (flags: StoreFlags & PageFlags & { user?: string }) => {
      await visit(cli, flags, (store) => listTokens(cli, store, flags));
    });

  withSecret(
    storeCommand(
      admin,
      "rotate-token",
      "Replaces a token by a new one of the same name and scopes.",
      rotateTokenExamples,
    ),
  )
    .argument("<id>", "the token's id, as list-tokens prints it")
    .addOption(
      new Option("--grace <time>", "how long the old one still works")
        .default(3_600_000, "1h")
        .argParser(duration(0, 2_592_000_000)),
    )
    .addOption(expiry("when the new one expires; after as long as the old one lived unless set"))
    .action(async (tokenId: string, flags: SecretFlags & { grace: number; expiresIn?: number }) => {
      const input = {
        tokenId,
        graceMs: flags.grace,
        ...present({ ttlMs: flags.expiresIn }),
      };
      await visit(cli, flags, (store, options) =>
        handOver(cli, flags, async () => ({
          made: await store.tokens.rotate(input, options),
          message: (token) =>
            `Token ${token.name} is now ${token.id}; ${expiryOf(token)}. The old one works for ${formatDuration(flags.grace)} more at most.`,
        })),
      );
    });

  storeCommand(admin, "revoke-token", "Ends a token at once. Repeated, it changes nothing.", revokeTokenExamples)
    .argument("<id>", "the token's id, as list-tokens prints it")
    .option("--reason <text>", "why")
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

  storeCommand(admin, "create-account", "Makes an account.", createAccountExamples)
    .argument("<name>", "unique without regard to case")
    .addOption(new Option("--kind <kind>", "what it stands for").choices(accountKinds).default("human"))
    .action(async (name: string, flags: StoreFlags & { kind: Account["kind"] }) => {
      const account = await visit(cli, flags, (store, options) =>
        store.accounts.create({ name, kind: flags.kind }, options),
      );
      printFields(cli, flags, account, { account: account.name, kind: account.kind, id: account.id });
    });

  storeCommand(
    admin,
    "disable-account",
    "Takes an account out of use: its tokens are refused from now on.",
    disableAccountExamples,
  )
    .argument("<name>", "its name")
    .action(async (name: string, flags: StoreFlags) => {
      const account = await visit(cli, flags, async (store, options) =>
        store.accounts.disable({ accountId: await accountIdOf(store, name) }, options),
      );
      printFields(cli, flags, account, { disabled: account.name, id: account.id, at: formatTime(account.disabledAt) });
    });

  withPages(
    storeCommand(admin, "list-accounts", "Lists accounts, the oldest first.", [
      "admin list-accounts",
      "admin list-accounts --all --json",
    ]),
  )
    .option("--all", "disabled ones too", false)
    .action(async (flags: StoreFlags & PageFlags & { all: boolean }) => {
      const page = await visit(cli, flags, (store) =>
        collect(flags, (paged) => store.accounts.list({ includeDisabled: flags.all, ...paged })),
      );
      printPage(cli, flags, page, (rows) => [
        column("id", rows, ({ id }) => id),
        column("name", rows, ({ name }) => name),
        column("kind", rows, ({ kind }) => kind),
        stateColumn(rows, ({ disabledAt }) => (disabledAt === null ? "live" : "disabled")),
        column("created", rows, ({ createdAt }) => formatTime(createdAt), { optional: true }),
      ]);
    });
}

function withSecret(command: Command): Command {
  return command.option("--out <file>", "write the secret to a new file, 0600, and not to stdout");
}

function expiry(description: string): Option {
  return new Option("--expires-in <time>", description).argParser(duration(1_000, yearsMs));
}

/** Of one option, or several: separated by commas. */
function parseScopes(text: string): readonly Scope[] {
  const asked = text.split(",").map((scope) => scope.trim());
  const unknown = asked.find((scope) => !(scopes as readonly string[]).includes(scope));
  if (unknown !== undefined)
    throw new CliError("usage", `--scopes: there is no scope ${unknown}; known are ${scopes.join(", ")}`);
  return asked as Scope[];
}

/** Once is enough: the second time says so, and has done nothing. */
async function seed(
  cli: CommandLine,
  store: OwnedStore,
  flags: SecretFlags & { user: string; name: string; expiresIn?: number },
  options: CallOptions,
): Promise<void> {
  const input = {
    accountName: flags.user,
    name: flags.name,
    ...present({ ttlMs: flags.expiresIn }),
  };
  try {
    await handOver(cli, flags, async () => ({
      made: await store.tokens.bootstrapAdmin(input, options),
      message: (token) => `Admin token ${token.name} of ${flags.user}, id ${token.id}; ${expiryOf(token)}`,
    }));
  } catch (error) {
    if (!(error instanceof StoreError && error.details.reason === "admin_exists")) throw error;
    printMessage(cli, flags, "An admin token exists already: nothing was done.");
  }
}

interface Made {
  readonly made: MintedToken;
  message(token: Token): string;
}

/** The secret alone on standard output, or in the file; with --json the row beside it. */
async function handOver(cli: CommandLine, flags: SecretFlags, make: () => Promise<Made>): Promise<void> {
  const outlet = openOutlet(cli, flags.out);
  const { made, message } = await make().catch((error) => {
    outlet.giveUp();
    throw error;
  });
  const { token, secret } = made;
  if (flags.json && flags.out === undefined) cli.stdout.write(toJsonLine({ token, secret }));
  else {
    outlet.deliver(secret as string);
    if (flags.json) cli.stdout.write(toJsonLine({ token, out: flags.out }));
  }
  printMessage(cli, flags, message(token));
}

/** Account and token together, so that a token that is refused leaves no account behind. */
async function mint(
  cli: CommandLine,
  store: OwnedStore,
  flags: CreateTokenFlags,
  options: CallOptions,
): Promise<MintedToken> {
  const input = {
    kind: flags.kind,
    name: flags.name ?? `cli-${new Date().toISOString().slice(0, 10)}`,
    scopes: [...(flags.scopes ?? scopes.filter((scope) => scope.endsWith(":read")))],
    ...present({ ttlMs: flags.expiresIn }),
    createdBy: await authority(cli, store),
  };
  const known = await store.accounts.find({ name: flags.user });
  if (known !== undefined) return await store.tokens.mint({ ...input, accountId: known.id }, options);
  const accountId = newId();
  const [, minted] = await store.atomically<[Account, MintedToken]>((tx) => {
    tx.accounts.create({ id: accountId, name: flags.user, kind: flags.kind === "runner" ? "runner" : "human" });
    tx.tokens.mint({ ...input, accountId });
  }, options);
  return minted;
}

/**
 * Whoever can open the database acts under its first admin token that lives, unless the environment names another
 * (D-070).
 */
async function authority({ env }: CommandLine, store: OwnedStore): Promise<string> {
  const own = env.DEBUG_SERVER_DB_TOKEN;
  if (own) return (await store.tokens.verify({ token: own })).tokenId;
  const disabled = new Set<string>();
  for await (const { id, disabledAt } of store.accounts.all({ includeDisabled: true, limit: bounds.pageRowsMax }))
    if (disabledAt !== null) disabled.add(id);
  for await (const token of store.tokens.all({ limit: bounds.pageRowsMax }))
    if (token.scopes.includes("admin") && stateOf(token) === "live" && !disabled.has(token.accountId)) return token.id;
  throw new CliError(
    "failure",
    "there is no live admin token, under which others are made: run debug-server-db admin seed",
  );
}

async function accountIdOf(store: OwnedStore, name: string): Promise<string> {
  const account = await store.accounts.find({ name });
  if (account === undefined) throw new CliError("failure", "there is no account of this name");
  return account.id;
}

async function listTokens(
  cli: CommandLine,
  store: OwnedStore,
  flags: StoreFlags & PageFlags & { user?: string },
): Promise<void> {
  const ofAccount = flags.user === undefined ? {} : { accountId: await accountIdOf(store, flags.user) };
  const page = await collect(flags, (paged) => store.tokens.list({ ...ofAccount, ...paged }));
  const ids = [...new Set(page.items.map(({ accountId }) => accountId))];
  const names = new Map(
    (await Promise.all(ids.map((accountId) => store.accounts.get({ accountId })))).map(({ id, name }) => [id, name]),
  );
  printPage(cli, flags, page, (rows) => [
    column("id", rows, ({ id }) => id),
    column("account", rows, ({ accountId }) => names.get(accountId)),
    column("name", rows, ({ name }) => name),
    column("begins", rows, ({ hint }) => hint, { optional: true }),
    column("kind", rows, ({ kind }) => kind, { optional: true }),
    stateColumn(rows, stateOf),
    column("expires", rows, ({ expiresAt }) => formatTime(expiresAt), { optional: true }),
    column("last used", rows, ({ lastUsedAt }) => formatTime(lastUsedAt), { optional: true }),
    column("scopes", rows, ({ scopes: held }) => held.join(" ")),
  ]);
}

function stateOf({ revokedAt, expiresAt, rotatedTo }: Token): string {
  if (revokedAt !== null) return "revoked";
  if (expiresAt !== null && expiresAt.getTime() <= Date.now()) return "expired";
  return rotatedTo === null ? "live" : "rotated";
}

function expiryOf({ expiresAt }: Token): string {
  return expiresAt === null ? "does not expire" : `expires ${formatTime(expiresAt)}`;
}

const seedExamples = [
  "admin seed",
  "admin seed --out admin.token",
  "admin seed --url postgres://ops@db.example/metadata",
];
const seedNote =
  "Safe to repeat: while a live admin token exists nothing is done, and the exit code is 0. The secret is shown once.";
const createTokenExamples = [
  "admin create-token --user ops",
  "admin create-token --user ci --kind runner --scopes commands:write,artifacts:write --expires-in 30d --out ci.token",
];
const tokenNote = `Scopes: ${scopes.join(", ")}.
The token is made under the authority of the first live admin token, or of the one in DEBUG_SERVER_DB_TOKEN. The secret is shown once.`;
const listTokensExamples = ["admin list-tokens", "admin list-tokens --user ops --json"];
const rotateTokenExamples = [
  "admin rotate-token 01890a5d-ac96-774b-bcce-b302099a8057",
  "admin rotate-token 01890a5d-ac96-774b-bcce-b302099a8057 --grace 0s --out new.token",
];
const revokeTokenExamples = ['admin revoke-token 01890a5d-ac96-774b-bcce-b302099a8057 --reason "laptop lost"'];
const createAccountExamples = ["admin create-account ops", "admin create-account ci --kind runner"];
const disableAccountExamples = ["admin disable-account ops"];
