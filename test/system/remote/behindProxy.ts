// A store that is served behind a proxy, and opened from before it.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { nodeHandler, type StoreHandlerOptions, storeHandler } from "../../../src/http/index.ts";
import { openStore } from "../../../src/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { CuttingProxy } from "./cuttingProxy.ts";

/** Serves a store, and opens it from behind a proxy. `port` is that of the server. */
export async function behindProxy(t: TestContext, options: StoreHandlerOptions = {}) {
  const owned = await openStore({ url: `sqlite:${join(temporaryFolder(), "store.db")}` });
  const token = (await owned.tokens.bootstrapAdmin()).secret as string;
  let connections = 0;
  const server = createServer(nodeHandler(storeHandler(owned, options)));
  server.on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const proxy = new CuttingProxy(port);
  const url = await proxy.listen();
  const store = await openStore({ url, token });
  t.after(async () => {
    await store.close();
    await proxy.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await owned.close();
  });
  return { owned, store, proxy, url, token, port, connections: () => connections };
}
