// The scopes that the operations need, and whose rows they touch. Loads no schema, because the command line reads it.
import type { Scope } from "../model/vocabulary.ts";

/**
 * The scope of each operation, by its name. What a runner does, it does with `runners:write`, so that its token need not
 * allow anybody to queue commands. Null: no token may call it, because whoever can open the store itself may do so without
 * one.
 */
export const operationScopes = {
  "repositories.upsert": "repositories:write",
  "repositories.get": "repositories:read",
  "repositories.find": "repositories:read",
  "repositories.list": "repositories:read",
  "repositories.archive": "repositories:write",
  "repositories.rename": "repositories:write",
  "runners.register": "runners:write",
  "runners.heartbeat": "runners:write",
  "runners.drain": "runners:write",
  "runners.get": "runners:read",
  "runners.list": "runners:read",
  "worktrees.reserve": "worktrees:write",
  "worktrees.register": "worktrees:write",
  "worktrees.ready": "worktrees:write",
  "worktrees.renew": "worktrees:write",
  "worktrees.update": "worktrees:write",
  "worktrees.release": "worktrees:write",
  "worktrees.quarantine": "worktrees:write",
  "worktrees.restore": "worktrees:write",
  "worktrees.adopt": "worktrees:write",
  "worktrees.evict": "worktrees:write",
  "worktrees.evictUnused": "worktrees:write",
  "worktrees.completeEvict": "worktrees:write",
  "worktrees.get": "worktrees:read",
  "worktrees.list": "worktrees:read",
  "sessions.create": "sessions:write",
  "sessions.complete": "sessions:write",
  "sessions.cancel": "sessions:write",
  "sessions.touch": "sessions:write",
  "sessions.update": "sessions:write",
  "sessions.pin": "sessions:write",
  "sessions.get": "sessions:read",
  "sessions.list": "sessions:read",
  "sessions.wait": "sessions:read",
  "sessions.delete": "sessions:write",
  "commands.enqueue": "commands:write",
  "commands.claim": "runners:write",
  "commands.finish": "runners:write",
  "commands.handBack": "runners:write",
  "commands.cancel": "commands:write",
  "commands.get": "commands:read",
  "commands.explain": "commands:read",
  "commands.attempts": "commands:read",
  "commands.list": "commands:read",
  "commands.wait": "commands:read",
  "logs.append": "logs:write",
  "logs.read": "logs:read",
  "logs.follow": "logs:read",
  "logs.followSession": "logs:read",
  "logs.timeline": "logs:read",
  "logs.mark": "logs:write",
  "logs.archive": "logs:write",
  "artifacts.record": "artifacts:write",
  "artifacts.begin": "artifacts:write",
  "artifacts.commit": "artifacts:write",
  "artifacts.get": "artifacts:read",
  "artifacts.list": "artifacts:read",
  "artifacts.delete": "artifacts:write",
  "artifacts.pin": "artifacts:write",
  "patches.record": "sessions:write",
  "patches.get": "sessions:read",
  "patches.find": "sessions:read",
  "patches.list": "sessions:read",
  "patches.delete": "sessions:write",
  "environments.acquire": "worktrees:write",
  "environments.renew": "worktrees:write",
  "environments.ready": "worktrees:write",
  "environments.fail": "worktrees:write",
  "environments.pin": "worktrees:write",
  "environments.get": "worktrees:read",
  "environments.list": "worktrees:read",
  "environments.delete": "worktrees:write",
  "environments.evict": "worktrees:write",
  "files.claim": "admin",
  "files.acknowledge": "admin",
  "files.fail": "admin",
  "files.list": "admin",
  "accounts.create": "admin",
  "accounts.disable": "admin",
  "accounts.enable": "admin",
  "accounts.rename": "admin",
  "accounts.get": "tokens:read",
  "accounts.find": "tokens:read",
  "accounts.list": "tokens:read",
  "tokens.mint": "tokens:write",
  "tokens.mintForSession": "sessions:write",
  "tokens.verify": "tokens:read",
  "tokens.check": "tokens:read",
  "tokens.rotate": "tokens:write",
  "tokens.revoke": "tokens:write",
  "tokens.list": "tokens:read",
  "tokens.bootstrapAdmin": null,
  "debug.open": "debug:write",
  "debug.setBreakpoints": "debug:write",
  "debug.bindBreakpoints": "debug:write",
  "debug.applyEvent": "debug:write",
  "debug.putStop": "debug:write",
  "debug.patchState": "debug:write",
  "debug.get": "debug:read",
  "debug.list": "debug:read",
  "debug.follow": "debug:read",
  "debug.close": "debug:write",
  "debug.request": "debug:write",
  "debug.takeRequests": "debug:write",
  "debug.reply": "debug:write",
  "debug.cancelRequest": "debug:write",
  "debug.history": "debug:read",
  "changes.since": "changes:read",
  "changes.watch": "changes:read",
  "changes.export": "changes:read",
  "changes.publish": "changes:write",
  "changes.consume": "changes:write",
  "changes.checkpoint": "changes:write",
  "changes.consumers": "changes:read",
  "changes.forget": "changes:write",
  "maintenance.reap": "admin",
  "maintenance.prune": "admin",
  "maintenance.retention": "admin",
  "maintenance.setRetention": "admin",
  "maintenance.fsck": "admin",
  "maintenance.repair": "admin",
  "maintenance.stats": "admin",
  "maintenance.health": "admin",
  "usage.days": "sessions:read",
} as const satisfies Readonly<Record<string, Scope | null>>;

/**
 * The further scopes that fields of an input need: with such a field, an operation does what another one does, and so
 * needs the scope of that one too. An empty list does nothing, and needs none.
 */
export const fieldScopes: Readonly<Partial<Record<string, Readonly<Record<string, Scope>>>>> = {
  "sessions.create": { commands: "commands:write", reserve: "worktrees:write" },
  "changes.consume": { consumer: "changes:read" },
};

/**
 * The operations with which the owner of a session commands it. On sessions of other accounts they also need
 * `sessions:any`. What a runner does for a session is not among them: it serves all accounts, and has a fencing token.
 */
const ofOwners: ReadonlySet<string> = new Set([
  "sessions.complete",
  "sessions.cancel",
  "sessions.touch",
  "sessions.update",
  "sessions.pin",
  "sessions.delete",
  "commands.enqueue",
  "commands.cancel",
  "artifacts.delete",
  "artifacts.pin",
  "debug.request",
  "debug.cancelRequest",
  "tokens.mintForSession",
]);

/** The operations that change what belongs to the whole store, whatever rows their input names: a consumer has one cursor. */
const ofStore: ReadonlySet<string> = new Set(["changes.consume"]);

/** Checks whether a token that is limited to some rows may call an operation if its input names such rows. */
export function isForLimited(operation: string): boolean {
  return !ofStore.has(operation);
}

/** Checks whether an operation is one with which the owner of a session commands it. */
export function isOfOwner(operation: string): boolean {
  return ofOwners.has(operation);
}

/**
 * The field of an input that names the token which a call acts with. Only `admin` may name another one than its own: it can
 * be an API that acts for its own clients. Rotating returns a secret with the scopes of the token that is rotated.
 */
export const ownTokenFields: Readonly<Partial<Record<string, string>>> = {
  "tokens.mint": "createdBy",
  "tokens.mintForSession": "createdBy",
  "tokens.rotate": "tokenId",
  "tokens.revoke": "tokenId",
  "sessions.create": "tokenId",
};

/** Returns the scopes that an operation with this input needs, with the field that needs each; null if no token may call it. */
export function neededScopes(
  operation: string,
  input: Readonly<Record<string, unknown>>,
): readonly { readonly scope: Scope; readonly field?: string }[] | null {
  const scope = (operationScopes as Readonly<Record<string, Scope | null | undefined>>)[operation];
  if (scope === null || scope === undefined) return null;
  const isUsed = (value: unknown) =>
    value !== undefined && value !== null && !(Array.isArray(value) && value.length === 0);
  const fields = Object.entries(fieldScopes[operation] ?? {}).filter(([field]) => isUsed(input[field]));
  return [{ scope }, ...fields.map(([field, needed]) => ({ scope: needed, field }))];
}

/** Checks whether these scopes cover one. `admin` covers all; writing does not cover reading. */
export function covers(scopes: readonly Scope[], needed: Scope): boolean {
  return scopes.includes("admin") || scopes.includes(needed);
}
