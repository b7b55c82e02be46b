// A secret leaves once: alone on standard output, or into a file that only its owner can read.
import { closeSync, constants, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import { CliError } from "../terminal/exit.ts";
import { type CommandLine, pathFrom } from "./commandLine.ts";

export interface Outlet {
  /** Where the secret goes when it has been made. */
  deliver(secret: string): void;
  /** Nothing was made. */
  giveUp(): void;
}

/** Before anything is made, so that no secret is made that cannot be handed over. Fails failure when the file exists or cannot be made. */
export function openOutlet(cli: CommandLine, out: string | undefined): Outlet {
  if (out === undefined) return { deliver: (secret) => cli.stdout.write(`${secret}\n`), giveUp: () => undefined };
  const path = pathFrom(cli, out);
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
  return {
    deliver(secret) {
      try {
        writeSync(fd, `${secret}\n`);
        fsyncSync(fd);
      } catch (error) {
        throw new CliError(
          "failure",
          `${path} cannot be written (${(error as Error).message}): the token was made, revoke it and make another`,
        );
      } finally {
        closeSync(fd);
      }
    },
    giveUp() {
      closeSync(fd);
      rmSync(path, { force: true });
    },
  };
}

function open(path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new CliError(
      "failure",
      code === "EEXIST" ? `${path} exists: name a new file` : `${path} cannot be made: ${message}`,
    );
  }
}
