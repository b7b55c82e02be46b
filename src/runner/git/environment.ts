// The environments of programs in a worktree, and of git itself.
import { present } from "../../present.ts";

/**
 * Variables that make git use another repository than that of its folder. They are set while a hook runs, and by some
 * users.
 */
const repositoryVariables = [
  "GIT_DIR",
  "GIT_WORK_TREE",
  "GIT_INDEX_FILE",
  "GIT_COMMON_DIR",
  "GIT_OBJECT_DIRECTORY",
  "GIT_ALTERNATE_OBJECT_DIRECTORIES",
  "GIT_CONFIG",
  "GIT_CONFIG_PARAMETERS",
  "GIT_PREFIX",
  "GIT_NAMESPACE",
  "GIT_SHALLOW_FILE",
  "GIT_GRAFT_FILE",
];

/**
 * Returns the environment for a program in a worktree. With `ceiling`, a folder below it that lost its .git is no
 * repository, instead of a part of the repository around it.
 */
export function worktreeEnvironment(ceiling?: string): NodeJS.ProcessEnv {
  const variables = Object.entries(process.env).filter(([name]) => !repositoryVariables.includes(name));
  return { ...Object.fromEntries(variables), ...present({ GIT_CEILING_DIRECTORIES: ceiling }) };
}

/** The variables of git that say how to reach a server, or where a person's own settings are. */
const kept = /^GIT_(?:SSH|SSL|HTTP|PROXY|ASKPASS|EXEC_PATH|CONFIG_(?:GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_|VALUE_))/;

/** A worktree whose parts are named, so that git looks for nothing and trusts no file in the folder. */
export interface WorktreeParts {
  /** The folder of the repository that all its worktrees share. */
  readonly gitDir: string;
  /** The folder in which the repository keeps the HEAD and index of this worktree. */
  readonly ownDir: string;
  readonly path: string;
}

/**
 * Returns the environment of git. No variable leads it elsewhere or writes a trace, and nothing asks a person: there is
 * no terminal in its session, and no program that opens a window.
 */
export function gitEnvironment(ceiling?: string, worktree?: WorktreeParts): NodeJS.ProcessEnv {
  const variables = Object.entries(process.env).filter(
    ([name]) => !/^(?:GIT_|SSH_ASKPASS)/.test(name) || kept.test(name),
  );
  return {
    ...Object.fromEntries(variables),
    LC_ALL: "C",
    GIT_TERMINAL_PROMPT: "0",
    SSH_ASKPASS_REQUIRE: "never",
    // Reading must not wait for a lock, and not leave one.
    GIT_OPTIONAL_LOCKS: "0",
    ...present({
      GIT_CEILING_DIRECTORIES: ceiling,
      GIT_DIR: worktree?.ownDir,
      GIT_COMMON_DIR: worktree?.gitDir,
      GIT_WORK_TREE: worktree?.path,
    }),
  };
}
