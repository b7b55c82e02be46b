// Serves a store over TCP and a Unix socket, for the benchmark of remote stores: remoteServer.ts FOLDER
import { join } from "node:path";
import { serveStore } from "../src/http/index.ts";
import { openStore } from "../src/index.ts";

const [folder = ""] = process.argv.slice(2);
const store = await openStore({ url: `sqlite:${join(folder, "remote.db")}` });
const { secret } = await store.tokens.bootstrapAdmin();
const tcp = await serveStore(store, { listen: "127.0.0.1:0" });
const unix = await serveStore(store, { listen: `unix:${join(folder, "remote.sock")}` });
process.send?.({ token: secret, url: tcp.url, socket: unix.address });
process.once("message", async () => {
  await tcp.close({ withinMs: 0 });
  await unix.close({ withinMs: 0 });
  await store.close();
  process.disconnect();
});
