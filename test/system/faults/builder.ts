// A builder of one environment, for processes and threads that race for it. While it builds, it holds a file that only one
// builder can create.
import { closeSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Store } from "../../../src/index.ts";

export interface Building {
  readonly repositoryId: string;
  readonly hash: string;
  readonly owner: string;
  /** The folder of the file that the builder holds. */
  readonly folder: string;
  readonly ttlMs: number;
}

/** Acquires the environment, and builds it if that is granted, once `go` has resolved. Says what it does, in one line each. */
export async function build(
  store: Store,
  { repositoryId, hash, owner, folder, ttlMs }: Building,
  say: (line: string) => void,
  go: () => Promise<unknown>,
): Promise<void> {
  const acquired = await store.environments.acquire({ repositoryId, hash, owner, ttlMs, waitMs: 120_000 });
  const { environment, lease } = acquired;
  if (lease === null) return say(`ready ${environment.uri}`);
  const { fence } = lease;
  const held = join(folder, `${environment.id}-${fence}`);
  closeSync(openSync(held, "wx"));
  say(`building ${fence}`);
  await go();
  rmSync(held);
  await store.environments.ready({
    environmentId: environment.id,
    fence,
    uri: `file:///environments/${owner}`,
    sizeBytes: 1,
  });
  say("built");
}
