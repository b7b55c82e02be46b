// What a command leaves behind, as artifacts: its log, and for each session the list of files of its commit, written next to the database.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { StoreError } from "../errors.ts";
import { hashFile } from "../files/hashFile.ts";
import type { Claim } from "../model/commands.ts";
import type { Store } from "../storeTypes.ts";
import { git } from "./git.ts";
import type { LogWriter } from "./logWriter.ts";

type ArtifactStore = Pick<Store, "artifacts">;

/** The log is in the store already, so this is one step. */
export async function recordLog(store: ArtifactStore, { command }: Claim, log: LogWriter): Promise<void> {
  const { id: commandId, sessionId, attempt } = command;
  const uri = `debug-server-db:logs/${commandId}/${attempt}`;
  const content = { sizeBytes: log.offset, sha256: log.sha256, uri };
  await unlessRefused(
    store.artifacts.record({
      sessionId,
      commandId,
      attempt,
      name: "log.txt",
      kind: "log",
      contentType: "text/plain",
      ...content,
    }),
  );
}

/** A file that is made while others may look: announced, written, hashed as a stream, and only then ready. */
export async function recordTree(
  store: ArtifactStore,
  { session }: Claim,
  treePath: string,
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
    await writeFile(path, await git(["ls-tree", "-r", "--long", session.commitSha], { cwd: treePath, signal }), {
      mode: 0o600,
    });
    await unlessRefused(
      store.artifacts.commit({ artifactId, ...(await hashFile(path, { signal })), uri: pathToFileURL(path).href }),
    );
  } catch {
    // Stopped, or no space for it: the command has its result all the same.
    await unlessRefused(store.artifacts.delete({ artifactId }));
  }
}

/** An artifact that cannot be recorded, because its session is gone or the store is full, is no reason for a command to fail. */
async function unlessRefused<Result>(call: Promise<Result>): Promise<Result | undefined> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof StoreError) return undefined;
    throw error;
  }
}
