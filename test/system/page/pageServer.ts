// A store with its page on a real socket, which can end and come back at the same address.
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type StoreHandlerOptions, serveStore } from "../../../src/http/index.ts";
import { type OwnedStore, openStore, type Scope, type StoreOptions } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

export interface PageServer {
  readonly store: OwnedStore;
  readonly url: string;
  /** The text of a token that covers `admin`. */
  readonly admin: string;
  /** Returns the text of a new token. */
  tokenWith(...scopes: Scope[]): Promise<string>;
  /** Ends the server, and leaves the store open. */
  stop(): Promise<void>;
  /** Serves the store again, at the same address. */
  start(): Promise<void>;
}

export async function servePage(
  t: TestContext,
  options: StoreHandlerOptions = {},
  storeOptions: StoreOptions = {},
): Promise<PageServer> {
  const store = await openStore({ url: `sqlite:${join(temporaryFolder(), "store.db")}`, ...storeOptions });
  const admin = (await store.tokens.bootstrapAdmin()).secret as string;
  const listenAt = async (listen: string) => await serveStore(store, { page: true, ...options, listen });
  let api = await listenAt("127.0.0.1:0");
  const { address, url } = api;
  t.after(async () => {
    await api.close({ withinMs: 0 });
    await store.close();
  });
  return {
    store,
    url: url as string,
    admin,
    tokenWith: async (...scopes) => (await fixtures(store).token({ scopes })).secret,
    stop: () => api.close({ withinMs: 0 }),
    async start() {
      api = await listenAt(address);
    },
  };
}
