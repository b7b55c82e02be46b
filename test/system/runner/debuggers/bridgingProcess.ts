// A process that holds a program of Node under its debugger, and reports to a store: over HTTP, or on a database.
import { dirname } from "node:path";
import { openStore } from "../../../../src/index.ts";
import { present } from "../../../../src/present.ts";
import { debuggers } from "../../../../src/runner/debuggers/debuggers.ts";

const [url = "", sessionId = "", commandId = "", path = ""] = process.argv.slice(2);
const { STORE_TOKEN: token, ...env } = process.env;
const store = await openStore({ url, ...present({ token }) });
const end = await debuggers.node({ stopOnEntry: true }).run({
  store,
  sessionId,
  commandId,
  argv: ["node", path],
  cwd: dirname(path),
  env,
  output: () => undefined,
});
await store.close();
process.stdout.write(JSON.stringify({ exitCode: end.exitCode }));
