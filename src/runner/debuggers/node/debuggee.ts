// Starts the debuggee: a Node program that waits for a debugger before its first line.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { InspectorError } from "./inspector.ts";

export interface DebuggeeOptions {
  /** The arguments after the options of node: a JavaScript file and its arguments. */
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  output(category: "stdout" | "stderr", text: string): void;
}

export interface Debuggee {
  readonly pid: number;
  /** The address of its inspector. */
  readonly url: string;
  /** Resolves with the exit code, which for a signal is 128 plus its number, as in a shell. */
  readonly ended: Promise<{ readonly exitCode: number; readonly signal: NodeJS.Signals | null }>;
  kill(signal: NodeJS.Signals): void;
}

/** Messages of the inspector on the stderr of the program. */
const inspectorMessages =
  /^(?:Debugger listening on |For help, see: |Debugger attached\.|Debugger ending on |Waiting for the debugger to disconnect\.\.\.)/;

export async function startDebuggee({ argv, cwd, env, output }: DebuggeeOptions): Promise<Debuggee> {
  const child = spawn(process.execPath, ["--inspect-brk=127.0.0.1:0", ...argv], {
    cwd,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const listening = Promise.withResolvers<string>();
  let line = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => output("stdout", text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    // Text is split into lines, so that a message of the inspector is recognized even when it arrives in pieces.
    const lines = (line + text).split(/(?<=\n)/);
    line = lines.at(-1)?.endsWith("\n") === false ? (lines.pop() as string) : "";
    for (const whole of lines) {
      const [, url] = /^Debugger listening on (ws:\S+)/.exec(whole) ?? [];
      if (url !== undefined) listening.resolve(url);
    }
    const programOutput = lines.filter((whole) => !inspectorMessages.test(whole)).join("");
    if (programOutput !== "") output("stderr", programOutput);
  });
  const ended = new Promise<{ exitCode: number; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (line !== "") output("stderr", line);
      resolve({ exitCode: code ?? 128 + signalNumber(signal), signal });
    });
  });
  ended.then(
    ({ exitCode }) =>
      listening.reject(new InspectorError(`the program ended with ${exitCode} before it could be debugged`)),
    (error: Error) => listening.reject(new InspectorError(`the program cannot be started: ${error.message}`)),
  );
  const url = await listening.promise;
  return { pid: child.pid as number, url, ended, kill: (signal) => void child.kill(signal) };
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === null ? 0 : (constants.signals[signal] ?? 0);
}
