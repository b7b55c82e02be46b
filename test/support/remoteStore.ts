// A store over HTTP on a real socket of this process: TCP, or a Unix socket where REMOTE_SOCKET is set.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Identify, nodeHandler, storeHandler } from "../../src/http/index.ts";
import { type Limits, type OwnedStore, openStore, type Store } from "../../src/index.ts";
import { present } from "../../src/present.ts";
import { attachStore } from "../../src/store.ts";
import { temporaryFolder } from "./temporaryFolder.ts";

/** Serves a store, and opens it from the outside. The server ends with the client. */
export async function openRemoteStore(
  owned: OwnedStore,
  { operations }: { readonly operations?: readonly string[] | undefined },
  limits: Partial<Limits>,
  identity: Awaited<ReturnType<Identify>> = { scopes: ["admin"] },
): Promise<{ store: Store; close(): Promise<void> }> {
  // Tests count accounts and tokens, so that the server asks for none.
  const server = createServer(nodeHandler(storeHandler(owned, { identify: async () => identity })));
  const socketPath = process.env.REMOTE_SOCKET === undefined ? undefined : join(temporaryFolder(), "store.sock");
  await new Promise<void>((resolve) => {
    if (socketPath === undefined) server.listen(0, "127.0.0.1", resolve);
    else server.listen(socketPath, resolve);
  });
  const url =
    socketPath === undefined ? `http://127.0.0.1:${(server.address() as AddressInfo).port}` : `unix:${socketPath}`;
  const remote = await openStore({ url, limits });
  const store = operations === undefined ? remote : attachStore(remote.connect(present({ operations })), { limits });
  return {
    store,
    async close() {
      await store.close();
      await remote.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
