// Uses tokens in every way, prints all that can be printed, and copies the database while it is open. The first line of
// its output holds the tokens.
import { copyFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { attachStore, authenticate, openStore } from "../../../src/index.ts";
import { createSecret, formatToken } from "../../../src/model/tokenText.ts";

const folder = process.argv[2] as string;
const output: unknown[] = [];
const log = (details: object, message: string) => void output.push(message, details);
const store = await openStore({
  url: `sqlite:${join(folder, "store.db")}`,
  logger: { info: log, warn: log, error: log },
  onEvent: (event) => void output.push(event),
  limits: { lastUsedFlushMs: 1, reapEveryMs: 10 },
});
const tokens: string[] = [];
const keep = ({ secret, token }: { secret: string | undefined; token: object }) => {
  output.push(token);
  tokens.push(secret as string);
  return token as { id: string };
};
const attempt = async (call: () => Promise<unknown>) => {
  try {
    output.push(await call());
  } catch (error) {
    output.push(error, JSON.stringify(error), (error as Error).stack);
  }
};

const admin = keep(await store.tokens.bootstrapAdmin());
const account = await store.accounts.create({ name: "ada", kind: "human" });
const other = attachStore(store.connect());
const base = { accountId: account.id, scopes: ["sessions:read" as const], createdBy: admin.id };
const options = { idempotencyKey: "key", actor: "ada", requestId: "r-1" };
const first = keep(await other.tokens.mint({ ...base, name: "first" }, options));
output.push(await other.tokens.mint({ ...base, name: "first" }, options));
keep(await store.tokens.rotate({ tokenId: first.id }));
const [within] = await store.atomically((tx) => tx.tokens.mint({ ...base, name: "within", kind: "runner" }));
keep(within);
const refused = keep(await store.tokens.mint({ ...base, name: "refused" }));
await store.tokens.revoke({ tokenId: refused.id, reason: "for the test" });
const short = keep(await store.tokens.mint({ ...base, name: "short", ttlMs: 1_000 }));
output.push(short);
const unknown = formatToken("personal", createSecret().secret);
tokens.push(unknown);

for (const token of tokens) {
  await attempt(() => store.tokens.verify({ token }));
  await attempt(() => other.tokens.verify({ token, scopes: ["admin"] }));
  await attempt(() => store.tokens.verify({ token: `${token}x` }));
  await attempt(() => store.tokens.verify({ token, unknown: 1 } as never));
  await attempt(() => store.atomically((tx) => tx.tokens.verify({ token })));
  await attempt(() =>
    authenticate(store, { scopes: ["debug:write"] })(new Headers({ authorization: `Bearer ${token}` })),
  );
}
await attempt(() => store.tokens.mint({ ...base, name: "first" }));
await attempt(() => store.tokens.mint({ ...base, name: "x", scopes: ["nothing" as "admin"] }));
await attempt(() => store.changes.since());
await attempt(() => store.tokens.list());
await attempt(() => store.maintenance.stats());
for (const name of readdirSync(folder))
  if (name.startsWith("store.db")) copyFileSync(join(folder, name), join(folder, "running", name));
await other.close();
await store.close();
await attempt(() => store.tokens.verify({ token: tokens[0] as string }));
process.stdout.write(`${JSON.stringify(tokens)}\n`);
for (const one of output) {
  const text = typeof one === "string" ? one : inspect(one, { depth: 10, showHidden: true });
  process.stdout.write(`${text}\n`);
  process.stderr.write(`${text}\n`);
}
