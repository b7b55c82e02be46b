// The place of a runner in the store, and the worktrees that it takes into this place.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { type Store, StoreError } from "../index.ts";
import { isBelow } from "./git/checkout.ts";
import { isUnfinished } from "./unfinished.ts";

/** Returns the place of a runner of this machine with a folder: the name of the machine, and the folder (D-144). */
export function placeOf(folder: string): string {
  const place = `${hostname()}:${folder}`;
  // The store accepts such a text as a place.
  if (/^[^\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Cs}]{1,200}$/u.test(place) && place.length <= 200) return place;
  return `${hostname().slice(0, 100)}:${createHash("sha256").update(folder).digest("hex")}`;
}

export interface Adoption {
  readonly repositoryId: string;
  readonly place: string;
  /** The folder below which the runner keeps the worktrees of the repository. */
  readonly worktreesRoot: string;
}

/** The states of worktrees that can be taken into a place. */
const adoptable = ["creating", "idle", "dirty", "leased", "quarantined", "evicting"] as const;

/**
 * Takes worktrees into a place of which the store knows no more than the machine, or not even that, and which are below
 * the folder on this one: runners made them before the store knew places. Those that an owner leases stay his.
 */
export async function adoptWorktrees(
  store: Pick<Store, "worktrees">,
  { repositoryId, place, worktreesRoot }: Adoption,
): Promise<void> {
  for (const former of new Set(["", hostname()])) {
    if (former === place) continue;
    const rows = store.worktrees.all({ repositoryId, place: former, state: [...adoptable], limit: 500 });
    for await (const { id: worktreeId, path, version: expectedVersion, leaseOwner, leaseRunnerId } of rows) {
      const isOwners = leaseOwner !== null && leaseRunnerId === null;
      if (isOwners || !isBelow(worktreesRoot, path) || !(existsSync(path) || isUnfinished(path))) continue;
      try {
        await store.worktrees.adopt({ worktreeId, place, expectedVersion });
      } catch (error) {
        if (
          !(error instanceof StoreError) ||
          !["conflict", "invalid_transition", "capacity_exhausted"].includes(error.code)
        )
          throw error;
        // Another runner has taken it, or there are as many as the repository allows.
        if (error.code === "capacity_exhausted") return;
      }
    }
  }
}
