// Collects the files that a command has left behind: records each, and hands it to a sink.
import { type Artifact, type ArtifactKind, hashFile, type Store } from "../../index.ts";
import { present } from "../../present.ts";
import { callHook } from "../callHook.ts";
import { contentTypeOf } from "./contentTypes.ts";
import { isUnchanged, type RefusedFile, type SelectedFile, selectFiles } from "./selectFiles.ts";
import type { ArtifactSink } from "./sink.ts";

export interface ArtifactsOptions {
  readonly sink: ArtifactSink;
  /** The largest number of files of one call; 1 000 by default. */
  readonly filesMax?: number;
  /** The largest sum of their sizes; 1 GiB by default. */
  readonly bytesMax?: number;
  /** The kind of a file by its name; `custom` by default. */
  readonly kindOf?: (name: string) => ArtifactKind;
  /** The time for which artifacts are kept; unlimited by default. */
  readonly ttlMs?: number;
  /** Deletes an artifact that has the name of a file and other content, instead of refusing the file. */
  readonly replace?: boolean;
}

export interface CollectInput {
  readonly sessionId: string;
  /** The command that has produced the files; without it they belong to the session. */
  readonly commandId?: string;
  readonly attempt?: number;
  /** The worktree. */
  readonly folder: string;
  /** The files to collect, relative to the folder: `dist/**`, `coverage/*.json`. Names use `/` on every system. */
  readonly globs: readonly string[];
  /** Stops the collection. A sink that has not ended 5 s after that is not waited for. */
  readonly signal: AbortSignal;
}

export interface CollectedArtifacts {
  /** The artifacts that are ready, in the order of their names. */
  readonly artifacts: readonly Artifact[];
  /** The files that were named and are not stored, with the reasons. */
  readonly refused: readonly RefusedFile[];
}

/** Collects the files of commands. */
export interface Artifacts {
  /**
   * Stores the files that the globs name, each as an artifact whose name is its path. A file that cannot be stored leaves
   * nothing behind, and does not keep the others from it. Collecting the same files again stores nothing twice.
   *
   * Fails    StoreError (invalid_input) when a glob leads out of the folder, or when there are more files or bytes than
   *          allowed; nothing is stored then
   */
  collect(input: CollectInput): Promise<CollectedArtifacts>;
}

/** The time after which a file that is still being stored counts as failed, for example because its runner died. */
const pendingMs = 6 * 3_600_000;

/** Collects files into a sink, such as `localSink(folder)`. */
export function artifacts(store: Pick<Store, "artifacts">, options: ArtifactsOptions): Artifacts {
  const { filesMax = 1_000, bytesMax = 1024 ** 3 } = options;
  return {
    async collect(input) {
      const { folder, globs, signal } = input;
      const { files, refused } = await selectFiles({ folder, globs, filesMax, bytesMax, signal });
      const ready: Artifact[] = [];
      for (const file of files) {
        try {
          signal.throwIfAborted();
          ready.push(await storeFile(store, options, input, file));
        } catch (error) {
          refused.push({ name: file.name, reason: signal.aborted ? "stopped" : reasonOf(error) });
        }
      }
      return { artifacts: ready, refused: refused.sort((one, other) => (one.name < other.name ? -1 : 1)) };
    },
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function storeFile(
  store: Pick<Store, "artifacts">,
  { sink, kindOf, ttlMs, replace = false }: ArtifactsOptions,
  { sessionId, commandId, attempt, signal }: CollectInput,
  file: SelectedFile,
): Promise<Artifact> {
  const { name, path } = file;
  const contentType = contentTypeOf(name);
  // The hash comes first: with it, the store says whether it has this content already.
  const content = await hashFile(path, { signal });
  const { artifact } = await store.artifacts.begin({
    sessionId,
    ...present({ commandId, attempt, contentType, kind: kindOf?.(name) }),
    name,
    sha256: content.sha256,
    ttlMs: pendingMs,
    replace,
  });
  if (artifact.state === "ready") return artifact;
  const artifactId = artifact.id;
  let uri: string | undefined;
  try {
    const options = { artifactId, ...content, ...present({ contentType, ttlMs }), signal };
    const put = await callHook("the sink", () => sink.put(keyOf(artifact), path, options), { signal });
    uri = put.uri;
    if (!(await isUnchanged(file))) throw new Error("it was changed while it was copied");
    return await store.artifacts.commit({ artifactId, ...content, uri, ...present({ ttlMs }) });
  } catch (error) {
    await giveUp(store, sink, artifactId, uri, signal);
    throw error;
  }
}

/** Returns the key of an artifact in a sink: no two have the same, and none is too long. */
function keyOf({ sessionId, id, name }: Artifact): string {
  const end = /\.[\w-]{1,16}$/.exec(name)?.[0] ?? "";
  return `${sessionId}/${id}${end}`;
}

/**
 * Ends an artifact that could not be stored. The answer says whether the store knows of the file: a collector removes
 * it then. Else nobody does, and it is removed here.
 */
async function giveUp(
  store: Pick<Store, "artifacts">,
  sink: ArtifactSink,
  artifactId: string,
  uri: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const ended = await store.artifacts.delete({ artifactId }).catch(() => undefined);
  // Without an answer the artifact fails by its time. What the sink says here must not hide the failure.
  if (uri === undefined || ended?.uri !== null) return;
  await callHook("the sink", () => sink.delete?.(uri), { signal }).catch(() => undefined);
}
