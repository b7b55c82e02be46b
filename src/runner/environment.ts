// The environment of the programs that a runner starts.
import { dirname } from "node:path";

/** The variables that programs inherit unless `inherit` says otherwise. Those that begin with `LC_` are among them. */
export const inheritedVariables: readonly string[] = [
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "SHELL",
  "LANG",
  "LANGUAGE",
  "TZ",
  "TMPDIR",
  "TERM",
  "COLORTERM",
  "NO_COLOR",
  "FORCE_COLOR",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NODE_EXTRA_CA_CERTS",
];

/**
 * Variables that are never inherited: those of the store may hold a password, and the others make git use another
 * repository than that of its folder. They are set while a hook of git runs, and by some users.
 */
const withheld =
  /^(?:DEBUG_SERVER_DB_.*|GIT_(?:DIR|WORK_TREE|INDEX_FILE|COMMON_DIR|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|PREFIX|NAMESPACE|CONFIG.*))$/;

/** Returns a variable of this process for a program that names it, unless it is one that is never passed on. */
export function ownVariable(name: string): string | undefined {
  return withheld.test(name) ? undefined : process.env[name];
}

/** Returns the variables of this process that a program in a worktree inherits. */
export function inheritedEnvironment(
  path: string,
  inherit: readonly string[] | "all" = inheritedVariables,
): Record<string, string> {
  const isInherited = (name: string) => inherit === "all" || inherit.includes(name) || name.startsWith("LC_");
  const variables = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && isInherited(entry[0]) && !withheld.test(entry[0]),
  );
  // A worktree that has lost its .git is no repository, instead of a part of the repository around it.
  return { ...Object.fromEntries(variables), GIT_CEILING_DIRECTORIES: dirname(path) };
}
