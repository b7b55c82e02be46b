// A process that uses a new token once, and then does nothing until it is killed.
import { openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";

const [, , path] = process.argv as [string, string, string];
const store = await openStore({ url: `sqlite:${path}`, limits: { lastUsedFlushMs: 3_600_000 } });
const { token, secret } = await fixtures(store).token();
await store.tokens.verify({ token: secret });
console.log(token.id);
setInterval(() => undefined, 1_000);
