// The scope that a caller over HTTP needs for each operation. What is not listed here cannot be reached.

import type { Scope } from "../model/vocabulary.ts";
import type { AnyOperation } from "../operation.ts";
import type { Operations } from "../operations/table.ts";

/** The name of an operation, such as "sessions.create". */
export type OperationName = {
  [Entity in keyof Operations & string]: `${Entity}.${keyof Operations[Entity] & string}`;
}[keyof Operations & string];

/**
 * The scope of each operation. What a runner does, it does with `runners:write`, so that its token need not allow anybody
 * to queue commands. Null: no token may call it, because whoever can open the store itself may do so without one.
 */
export const operationScopes: Readonly<Record<OperationName, Scope | null>> = {
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
  "commands.attempts": "commands:read",
  "commands.list": "commands:read",
  "commands.wait": "commands:read",
  "logs.append": "logs:write",
  "logs.read": "logs:read",
  "logs.follow": "logs:read",
  "logs.followSession": "logs:read",
  "logs.mark": "logs:write",
  "logs.archive": "logs:write",
  "artifacts.record": "artifacts:write",
  "artifacts.begin": "artifacts:write",
  "artifacts.commit": "artifacts:write",
  "artifacts.get": "artifacts:read",
  "artifacts.list": "artifacts:read",
  "artifacts.delete": "artifacts:write",
  "artifacts.pin": "artifacts:write",
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
  "tokens.verify": "tokens:read",
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
  "usage.days": "sessions:read",
  "maintenance.reap": "admin",
  "maintenance.prune": "admin",
  "maintenance.retention": "admin",
  "maintenance.setRetention": "admin",
  "maintenance.fsck": "admin",
  "maintenance.repair": "admin",
  "maintenance.stats": "admin",
  "maintenance.health": "admin",
};

/**
 * The further scopes that fields of an input need: with such a field, an operation does what another one does, and so
 * needs the scope of that one too. An empty list does nothing, and needs none.
 */
export const fieldScopes: Readonly<Partial<Record<OperationName, Readonly<Record<string, Scope>>>>> = {
  "sessions.create": { commands: "commands:write", reserve: "worktrees:write" },
  // Each call has this field: it reads changes, and moves the position of a consumer.
  "changes.consume": { consumer: "changes:read" },
};

/** The scope of the metrics, which show figures of the whole store and the names of the consumers of its feed. */
export const metricsScope: Scope = "metrics:read";

/** The scopes of a runner's token: what `debug-server-db/runner` calls, without its debuggers. */
export const runnerScopes: readonly Scope[] = [
  "repositories:read",
  "worktrees:read",
  "worktrees:write",
  "sessions:read",
  "runners:write",
  "logs:write",
  "artifacts:write",
];

/** The scopes of one who looks on: everything but accounts and tokens. */
export const viewerScopes: readonly Scope[] = [
  "repositories:read",
  "worktrees:read",
  "sessions:read",
  "commands:read",
  "runners:read",
  "logs:read",
  "artifacts:read",
  "debug:read",
  "changes:read",
];

/** The scopes of a client that runs programs: it creates sessions with commands, follows them, and gets their files. */
export const clientScopes: readonly Scope[] = [
  "repositories:read",
  "sessions:read",
  "sessions:write",
  "commands:read",
  "commands:write",
  "logs:read",
  "artifacts:read",
];

/**
 * Returns the methods with which an operation can be called. One that only reads is also a GET, unless a field of its
 * input is a secret, which a URL would show to proxies and logs.
 */
export function methodsOf({ access, inputSchema, keys }: AnyOperation): readonly string[] {
  const hasSecret = Object.keys(inputSchema.shape).some((field) => !keys.includes(field));
  return access === "read" && !hasSecret ? ["POST", "GET"] : ["POST"];
}

/** Checks whether these scopes cover one. `admin` covers all; writing does not cover reading. */
export function covers(scopes: readonly Scope[], needed: Scope): boolean {
  return scopes.includes("admin") || scopes.includes(needed);
}

/** Returns the operations that a token with these scopes may call. */
export function operationsOf(scopes: readonly Scope[]): readonly OperationName[] {
  const names = Object.keys(operationScopes) as OperationName[];
  return names.filter((name) => {
    const needed = operationScopes[name];
    return needed !== null && covers(scopes, needed);
  });
}
