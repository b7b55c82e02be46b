// The options of Node that threads of this package start with. A thread inherits those of the process, but the program
// of a thread is a file, which `--input-type`, a flag for a program from the command line or standard input, forbids.
import { present } from "./present.ts";

interface ThreadOptions {
  readonly execArgv?: string[];
  readonly env?: NodeJS.ProcessEnv;
}

const inputType = /^--input[-_]type(?:=|$)/;
const inputTypeInText = /(?<=^|\s)--input[-_]type(?:=|\s+)\S+/g;

/** The flags that change how a thread loads or resolves modules, and whether a value may follow as its own argument. */
const loading: ReadonlyMap<string, boolean> = new Map([
  ["--import", true],
  ["--require", true],
  ["-r", true],
  ["--loader", true],
  ["--experimental-loader", true],
  ["--conditions", true],
  ["-C", true],
  ["--experimental-transform-types", false],
  ["--experimental-strip-types", false],
  ["--no-experimental-strip-types", false],
  ["--enable-source-maps", false],
  ["--preserve-symlinks", false],
  ["--no-warnings", false],
]);

/**
 * Returns the options for `new Worker` and for a pool. They are empty, so that a thread inherits everything, unless the
 * process has `--input-type`. Then a thread keeps only the flags that load modules, because Node refuses those that hold
 * for a whole process when it is given a list.
 */
export function threadOptions({
  execArgv,
  env,
}: {
  readonly execArgv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
} = process): ThreadOptions {
  const { NODE_OPTIONS: text } = env;
  const textLeft = text?.replaceAll(inputTypeInText, "");
  if (textLeft === text && !execArgv.some((flag) => inputType.test(flag))) return {};
  return {
    execArgv: loadingFlags(execArgv),
    ...present({ env: textLeft === text ? undefined : { ...env, NODE_OPTIONS: textLeft } }),
  };
}

/** Returns those of the flags that change how a thread or process loads its modules. */
export function loadingFlags(execArgv: readonly string[]): string[] {
  const kept: string[] = [];
  for (const [index, flag] of execArgv.entries()) {
    const [name = ""] = flag.split("=", 1);
    if (!loading.has(name)) continue;
    kept.push(flag);
    const value = execArgv[index + 1];
    if (loading.get(name) && flag === name && value !== undefined) kept.push(value);
  }
  return kept;
}
