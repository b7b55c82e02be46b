// The scope that a caller over HTTP needs for each operation. What is not listed here cannot be reached.

import type { Scope } from "../model/vocabulary.ts";
import type { AnyOperation } from "../operation.ts";
import { covers, fieldScopes, operationScopes as scopesOfOperations } from "../operations/scopes.ts";
import type { Operations } from "../operations/table.ts";

/** The name of an operation, such as "sessions.create". */
export type OperationName = {
  [Entity in keyof Operations & string]: `${Entity}.${keyof Operations[Entity] & string}`;
}[keyof Operations & string];

/** The scope of each operation, or null for one that no token may call. */
export const operationScopes: Readonly<Record<OperationName, Scope | null>> = scopesOfOperations;

export { covers, fieldScopes };

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

/** Returns the operations that a token with these scopes may call. */
export function operationsOf(scopes: readonly Scope[]): readonly OperationName[] {
  const names = Object.keys(operationScopes) as OperationName[];
  return names.filter((name) => {
    const needed = operationScopes[name];
    return needed !== null && covers(scopes, needed);
  });
}
