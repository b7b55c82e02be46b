// Applies the patch of a session to its worktree, after it was checked.
import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { realTime } from "../../realTime.ts";
import { GitError, type GitRun, git, maskUrls, requireGoingOn } from "./git.ts";

/**
 * The reasons for which a patch is not applied: it cannot be read, is larger than allowed, is another than its hash
 * says, has no hash that can be checked, or does not fit the commit.
 */
export type PatchProblem = "unreadable" | "too_large" | "hash_differs" | "hash_missing" | "does_not_apply";

/** A patch that was not applied. The worktree is as it was. */
export class PatchError extends GitError {
  override readonly name = "PatchError";
  readonly problem: PatchProblem;

  constructor(problem: PatchProblem, reason: string) {
    super(reason);
    this.problem = problem;
  }
}

export interface PatchOptions extends GitRun {
  /** A file, data, https or http URI. The runner reads it with its own rights. */
  readonly uri: string;
  /** The SHA-256 of the patch in hexadecimal, with or without `sha256:` in front. A data URI may go without. */
  readonly hash?: string | null | undefined;
  /** The largest patch; 64 MiB by default. */
  readonly bytesMax?: number;
  /** The time to read the patch; one minute by default. */
  readonly timeoutMs?: number;
}

/**
 * Applies a patch to the files of a worktree, all of it or nothing. It may hold binary files (`git diff --binary`), and
 * reaches no file outside of the worktree.
 *
 * Fails    PatchError | GitError when the signal aborts
 */
export async function applyPatch(worktreePath: string, options: PatchOptions): Promise<void> {
  const { uri, hash, signal, guard, holdings } = options;
  const expected = expectedHash(uri, hash);
  const patch = await readPatch(options);
  const actual = createHash("sha256").update(patch).digest("hex");
  if (expected !== undefined && actual !== expected)
    throw new PatchError(
      "hash_differs",
      `the patch at ${shorten(uri)} has the sha256 ${actual}, not ${expected}: it was changed, or the hash is of another patch`,
    );
  const path = join(tmpdir(), `debug-server-db-${randomUUID()}.patch`);
  await writeFile(path, patch, { mode: 0o600, flag: "wx" });
  try {
    const inWorktree = { cwd: worktreePath, ceiling: dirname(worktreePath), signal, guard, holdings };
    // It checks every file before it writes the first: https://git-scm.com/docs/git-apply
    await git(["apply", "--whitespace=nowarn", path], inWorktree);
  } catch (error) {
    requireGoingOn(signal);
    if (!(error instanceof GitError) || error.notInstalled) throw error;
    const reason = error.message.replaceAll(path, "the patch");
    throw new PatchError(
      "does_not_apply",
      `${reason}: make the patch with git diff --binary against the commit of the session`,
    );
  } finally {
    await rm(path, { force: true });
  }
}

function expectedHash(uri: string, hash: string | null | undefined): string | undefined {
  if ((hash ?? undefined) === undefined && uri.startsWith("data:")) return undefined;
  const digits = /^(?:sha256:)?([0-9a-f]{64})$/i.exec(hash ?? "")?.[1];
  if (digits !== undefined) return digits.toLowerCase();
  const found = hash ? `its hash "${hash.slice(0, 80)}" is no sha256` : "it has no hash";
  throw new PatchError(
    "hash_missing",
    `the patch at ${shorten(uri)} cannot be checked, ${found}: set patchHash to the sha256 in 64 hexadecimal digits`,
  );
}

/** Leaves the content of a data URI out. */
function shorten(uri: string): string {
  return uri.startsWith("data:") ? "its data URI" : maskUrls(uri).slice(0, 300);
}

async function readPatch({
  uri,
  signal,
  bytesMax = 64 * 1024 * 1024,
  timeoutMs = 60_000,
}: PatchOptions): Promise<Buffer> {
  const tooLong = new AbortController();
  const timer = realTime.setTimeout(() => tooLong.abort(new Error(`it took longer than ${timeoutMs} ms`)), timeoutMs);
  const stop = AbortSignal.any([signal, tooLong.signal]);
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const piece of await openPatch(uri, stop)) {
      stop.throwIfAborted();
      bytes += piece.byteLength;
      if (bytes > bytesMax)
        throw new PatchError(
          "too_large",
          `the patch at ${shorten(uri)} is larger than ${bytesMax} bytes: commit its large files`,
        );
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  } catch (error) {
    requireGoingOn(signal);
    if (error instanceof PatchError) throw error;
    const cause = tooLong.signal.aborted ? tooLong.signal.reason : (error as Error);
    const reason = cause.cause instanceof Error ? cause.cause.message : cause.message;
    throw new PatchError("unreadable", `the patch at ${shorten(uri)} cannot be read: ${reason}`);
  } finally {
    realTime.clearTimeout(timer);
  }
}

async function openPatch(uri: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  const kind = /^([a-z][a-z0-9+.-]*):/i.exec(uri)?.[1]?.toLowerCase();
  if (kind === "file") {
    const path = fileURLToPath(uri);
    // Opening a pipe would wait for its writer.
    if (!(await stat(path)).isFile()) throw new Error("it is not a regular file");
    return createReadStream(path, { signal });
  }
  if (kind !== "data" && kind !== "https" && kind !== "http")
    throw new Error("give a file, data, https or http URI as patchUri");
  const response = await fetch(uri, { signal });
  if (!response.ok) throw new Error(`the server answers ${response.status} ${response.statusText}`.trim());
  return response.body ?? Readable.from([]);
}
