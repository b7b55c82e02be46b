// Checks at the start of a runner that its store lets it do its work: a token or a port may cover less.
import { newId, type Scope, StoreError } from "../index.ts";
import type { RunnerStore } from "./options.ts";

/** A call that changes nothing, because no row has the id, for each scope that a runner needs. */
const probes: Readonly<Partial<Record<Scope, (store: RunnerStore, id: string) => Promise<unknown>>>> = {
  "repositories:read": ({ repositories }, repositoryId) => repositories.get({ repositoryId }),
  "worktrees:read": ({ worktrees }, worktreeId) => worktrees.get({ worktreeId }),
  "worktrees:write": ({ worktrees }, worktreeId) => worktrees.release({ worktreeId, fence: 1, to: "dirty" }),
  "sessions:read": ({ sessions }, sessionId) => sessions.get({ sessionId }),
  "runners:write": ({ runners }, runnerId) => runners.drain({ runnerId }),
  "logs:write": ({ logs }, commandId) => logs.append({ commandId, fence: 1, offset: 0, data: new Uint8Array([10]) }),
  "artifacts:write": ({ artifacts }, artifactId) => artifacts.delete({ artifactId }),
};

/** Checks whether the store refuses a caller, whatever the call: its token is no longer valid, or covers too little. */
export function isRefused(error: unknown): boolean {
  return (
    error instanceof StoreError &&
    (error.code === "unknown_operation" || error.code === "scope_missing" || error.code.startsWith("token_"))
  );
}

/**
 * Fails with `scope_missing` when the store does not let the caller do what a runner has to. A runner that began without
 * would claim commands that it cannot run. What passes by itself is left to the calls that are repeated.
 */
export async function requireAccess(store: RunnerStore, { artifacts }: { readonly artifacts: boolean }): Promise<void> {
  const id = newId();
  const needed = (Object.keys(probes) as Scope[]).filter((scope) => artifacts || scope !== "artifacts:write");
  const refused = await Promise.all(
    needed.map(async (scope) => {
      try {
        await probes[scope]?.(store, id);
      } catch (error) {
        if (isRefused(error)) return [{ scope, error }];
      }
      return [];
    }),
  );
  const lacked = refused.flat();
  // A token that is not valid covers nothing, and its own error says why.
  if (lacked[0] !== undefined && (lacked[0].error as StoreError).code.startsWith("token_")) throw lacked[0].error;
  if (lacked.length > 0) throw scopesMissing(lacked.map(({ scope }) => scope));
}

/** Returns the failure of a runner whose store does not let it use these scopes. */
export function scopesMissing(missing: readonly Scope[]): StoreError {
  const message = `the store lets this runner do too little: its token does not cover ${missing.join(", ")}`;
  return new StoreError("scope_missing", message, { details: { missing } });
}
