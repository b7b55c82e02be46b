// Delivers a secret once: alone on stdout, or in a new file that only its owner can read.
import { closeSync, constants, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import { CliError } from "../terminal/exit.ts";
import { type CommandLine, pathFrom } from "./commandLine.ts";

export interface SecretOutlet {
  /** Returns false when nobody can have read the secret. */
  deliver(secret: string): Promise<boolean>;
  /** Removes the file again, when there is no secret to deliver. */
  discard(): void;
}

/**
 * Opens the outlet before the secret is created, so that no secret is created that cannot be delivered. Fails when the
 * file exists or cannot be created.
 */
export function openSecretOutlet(cli: CommandLine, out: string | undefined): SecretOutlet {
  if (out === undefined)
    return { deliver: (secret) => cli.stdout.writeAndLook(`${secret}\n`), discard: () => undefined };
  const path = pathFrom(cli, out);
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
  return {
    async deliver(secret) {
      try {
        writeSync(fd, `${secret}\n`);
        fsyncSync(fd);
        return true;
      } catch (error) {
        const { message } = error as Error;
        throw new CliError(
          "failure",
          `${path} cannot be written (${message}): the token exists, so revoke it and create another`,
        );
      } finally {
        closeSync(fd);
      }
    },
    discard() {
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
      code === "EEXIST" ? `${path} exists: name a new file` : `${path} cannot be created: ${message}`,
    );
  }
}
