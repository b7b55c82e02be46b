// The part of an owned store that is the same wherever its server runs: it refuses new ports after it was closed, and
// closes once.
import type { ClientOf } from "../client.ts";
import { StoreError } from "../errors.ts";
import type { Operations } from "../operations/table.ts";
import type { OwnedStore } from "../storeTypes.ts";

/** Joins the methods of the client and of the owner. The store closes once, however often it is closed. */
export function ownedStore(
  client: ClientOf<Operations>,
  owner: Pick<OwnedStore, "limits" | "connect" | "serve" | "liveness" | "backup" | "close">,
): OwnedStore {
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
