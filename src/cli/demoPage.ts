// The page of a demo: its store over HTTP for as long as it runs, with a token that the store does not know.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { DemoServer } from "../demo/run.ts";
import { StoreError } from "../errors.ts";
import { serveStore } from "../http/index.ts";
import type { OwnedStore } from "../storeTypes.ts";

const hashOf = (text: string) => createHash("sha256").update(text).digest();

/** Serves the store of a demo. The token ends with the server, so it may be printed, and the store stays as it was. */
export async function serveDemo(store: OwnedStore, listen: string): Promise<DemoServer> {
  const token = randomBytes(24).toString("base64url");
  const expected = hashOf(`Bearer ${token}`);
  const api = await serveStore(store, {
    listen,
    page: true,
    identify: async (request) => {
      if (!timingSafeEqual(hashOf(request.headers.get("authorization") ?? ""), expected))
        throw new StoreError("token_unknown", "this is not the token that the demo has printed");
      return { scopes: ["admin"], actor: "demo", account: { id: "", name: "demo", kind: "human" } };
    },
  });
  return { url: `${api.url ?? api.address}/`, token, close: () => api.close({ withinMs: 500 }) };
}
