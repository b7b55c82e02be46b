// Records what commands leave behind as artifacts: the log of each, and for each session the list of files of its
// commit.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Claim, hashFile, type Store, StoreError } from "../../index.ts";
import { git } from "../git/git.ts";
import type { WrittenLog } from "../logs/logWriter.ts";

type ArtifactStore = Pick<Store, "artifacts">;

/** Records a log in one step, because the store has its content already. */
export async function recordLog(store: ArtifactStore, { command }: Claim, log: WrittenLog): Promise<void> {
  const { id: commandId, sessionId, attempt } = command;
  await unlessRefused(
    store.artifacts.record({
      sessionId,
      commandId,
      attempt,
      name: "log.txt",
      kind: "log",
      contentType: "text/plain",
      sizeBytes: log.offset,
      sha256: log.sha256,
      uri: `debug-server-db:logs/${commandId}/${attempt}`,
    }),
  );
}

/** Records a file that takes time to write: announces it, writes and hashes it, and only then commits it as ready. */
export async function recordFileList(
  store: ArtifactStore,
  { session }: Claim,
  worktreePath: string,
  filesRoot: string,
  signal: AbortSignal,
): Promise<void> {
  const begun = await unlessRefused(
    store.artifacts.begin({ sessionId: session.id, name: "tree.txt", contentType: "text/plain" }),
  );
  if (begun === undefined || begun.artifact.state === "ready") return;
  const artifactId = begun.artifact.id;
  try {
    const folder = join(filesRoot, session.id);
    const path = join(folder, "tree.txt");
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const list = await git(["ls-tree", "-r", "--long", session.commitSha], { cwd: worktreePath, signal });
    await writeFile(path, list, { mode: 0o600 });
    const content = await hashFile(path, { signal });
    await unlessRefused(store.artifacts.commit({ artifactId, ...content, uri: pathToFileURL(path).href }));
  } catch {
    // Stopped, or the disk is full: the result of the command stands without it.
    await unlessRefused(store.artifacts.delete({ artifactId }));
  }
}

/** Returns undefined when the store refuses the call: a missing artifact does not make a command fail. */
async function unlessRefused<Result>(call: Promise<Result>): Promise<Result | undefined> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof StoreError) return undefined;
    throw error;
  }
}
