// Starts the debuggee: a program of Node that waits for a debugger before its first line, in a process group of its own.
import { type CommandEnd, type RunCommandOptions, runCommand } from "../../process/runCommand.ts";

export interface Debuggee {
  /** The address of its inspector; undefined when the program has ended without one. */
  readonly url: Promise<string | undefined>;
  /** Resolves when the program has ended, and all of its output was taken. */
  readonly ended: Promise<CommandEnd>;
  /** Asks the program to end, and kills it when it does not. */
  stop(): void;
  /** Kills the program at once. */
  kill(): void;
}

/** Starts Node with these arguments, of which the first is the executable. */
export function startDebuggee(argv: readonly string[], options: RunCommandOptions): Debuggee {
  const [node = process.execPath, ...rest] = argv;
  const listening = Promise.withResolvers<string | undefined>();
  const ending = new AbortController();
  const signal = AbortSignal.any([ending.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const stderr = new InspectorMessages((url) => listening.resolve(url));
  const run = async (): Promise<CommandEnd> => {
    try {
      const end = await runCommand([node, "--inspect-brk=127.0.0.1:0", ...rest], {
        ...options,
        signal,
        output: async (stream, data) => {
          const own = stream === "stderr" ? stderr.without(data) : data;
          if (own.length > 0) await options.output(stream, own);
        },
      });
      const left = stderr.rest();
      if (left.length > 0) await options.output("stderr", left);
      return end;
    } finally {
      listening.resolve(undefined);
    }
  };
  const ended = run();
  ended.catch(() => undefined);
  return {
    url: listening.promise,
    ended,
    stop: () => ending.abort(),
    // A group whose lease is lost is killed at once.
    kill: () => ending.abort("lost"),
  };
}

/** Messages of the inspector on the stderr of the program, each a line of its own. */
const messages = [
  "Debugger listening on ",
  "For help, see: ",
  "Debugger attached.",
  "Debugger ending on ",
  "Waiting for the debugger to disconnect...",
];

/** The length from which a line is no message of the inspector. */
const messageLengthMax = 1_000;

/** Takes the messages of the inspector out of what the program prints. */
class InspectorMessages {
  readonly #listening: (url: string) => void;
  /** The beginning of a line that may be a message. */
  #begun = "";
  #isAtLineStart = true;

  constructor(listening: (url: string) => void) {
    this.#listening = listening;
  }

  /** Returns the bytes without messages. Keeps the beginning of a line back while it may be one of a message. */
  without(data: Uint8Array): Uint8Array {
    // One character for each byte, so that bytes that are no text stay as they are.
    const lines = (this.#begun + Buffer.from(data).toString("latin1")).split(/(?<=\n)/);
    this.#begun = "";
    let own = "";
    for (const line of lines) {
      const isWhole = line.endsWith("\n");
      const mayBeMessage = this.#isAtLineStart && line.length < messageLengthMax && startsMessage(line);
      if (mayBeMessage && !isWhole) {
        this.#begun = line;
        break;
      }
      const [, url] = /^Debugger listening on (ws:\S+)/.exec(line) ?? [];
      if (mayBeMessage && url !== undefined) this.#listening(url);
      if (!mayBeMessage) own += line;
      this.#isAtLineStart = isWhole;
    }
    return Buffer.from(own, "latin1");
  }

  /** Returns what was kept back. */
  rest(): Uint8Array {
    return Buffer.from(this.#begun, "latin1");
  }
}

function startsMessage(line: string): boolean {
  return messages.some((message) => line.startsWith(message) || (!line.endsWith("\n") && message.startsWith(line)));
}
