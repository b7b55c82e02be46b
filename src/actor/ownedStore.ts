// The store that owns its database, assembled from the methods of its client and those of its owner.
import type { ClientOf } from "../client.ts";
import { StoreError } from "../errors.ts";
import type { Operations } from "../operations/table.ts";
import type { OwnedStore } from "../storeTypes.ts";

/** The methods that depend on where the server runs. */
type OwnerMethods = Pick<OwnedStore, "limits" | "connect" | "serve" | "liveness" | "backup" | "close">;

/** Assembles a store that closes once, however often `close` is called, and creates no port after that. */
export function assembleOwnedStore(client: ClientOf<Operations>, owner: OwnerMethods): OwnedStore {
  let closed: Promise<void> | undefined;
  const connect: OwnedStore["connect"] = (options) => {
    if (closed !== undefined) throw new StoreError("closed", "the store is closed");
    return owner.connect(options);
  };
  const close = (): Promise<void> => {
    closed ??= owner.close();
    return closed;
  };
  return { ...client, ...owner, connect, close, [Symbol.asyncDispose]: close };
}
