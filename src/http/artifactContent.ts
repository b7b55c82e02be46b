// The bytes of artifacts over HTTP: files below one folder of the server, sent and received as they are.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, realpath, rename, rm, stat } from "node:fs/promises";
import { join, relative, resolve, sep } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { CallOptions } from "../client.ts";
import { StoreError } from "../errors.ts";
import type { Artifact } from "../model/artifacts.ts";
import type { Store } from "../storeTypes.ts";
import { RequestError } from "./problems.ts";

/** The time after which an upload that never ended counts as failed, in milliseconds. */
const pendingMs = 6 * 3_600_000;

/** Returns the response with the file of a ready artifact. Fails with `not_found` when its file is not in the folder. */
export async function contentOf(artifact: Artifact, folder: string): Promise<Response> {
  const { id, state, uri, contentType, sha256, name } = artifact;
  const path = state === "ready" && uri?.startsWith("file:") ? await pathWithin(fileURLToPath(uri), folder) : undefined;
  if (path === undefined)
    throw new StoreError("not_found", `artifact ${id} has no file on this server: its uri says where it is`, {
      operation: "artifacts.content",
      details: { entity: "artifact", id },
    });
  const { size } = await stat(path);
  return new Response(Readable.toWeb(createReadStream(path)) as ReadableStream<Uint8Array>, {
    headers: {
      "content-type": contentType ?? "application/octet-stream",
      "content-length": String(size),
      // A program has made it: a browser should save it, and guess nothing.
      "content-disposition": `attachment; filename*=UTF-8''${encodeURIComponent(name.split("/").at(-1) ?? name)}`,
      "x-content-type-options": "nosniff",
      "cache-control": "private, no-store",
      ...(sha256 === null ? {} : { etag: `"${sha256}"` }),
    },
  });
}

/** Returns the real path of a file that is below the folder, whatever symbolic links lead there. */
async function pathWithin(path: string, folder: string): Promise<string | undefined> {
  try {
    const [real, root] = await Promise.all([realpath(path), realpath(folder)]);
    const way = relative(root, real);
    return way === "" || way === ".." || way.startsWith(`..${sep}`) ? undefined : real;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

export interface Upload {
  readonly store: Pick<Store, "artifacts">;
  /** The folder of the server. */
  readonly folder: string;
  /** The largest size of a file in bytes. */
  readonly bytesMax: number;
  readonly callOptions: CallOptions;
}

/**
 * Stores the body of a request as the file of a new artifact, and returns the artifact. It is ready only when all of it is
 * on disk; a body that ends early, or that has another SHA-256 than `input.sha256` says, leaves nothing.
 */
export async function upload(
  body: ReadableStream<Uint8Array> | null,
  input: Parameters<Store["artifacts"]["begin"]>[0],
  { store, folder, bytesMax, callOptions }: Upload,
): Promise<Artifact> {
  const { artifact } = await store.artifacts.begin({ ...input, ttlMs: pendingMs }, callOptions);
  // With its hash, the store has found that it has this content already.
  if (artifact.state === "ready") return artifact;
  const { id: artifactId, sessionId } = artifact;
  const place = join(resolve(folder), sessionId);
  const [path, part] = [join(place, artifactId), join(place, `${artifactId}.part`)];
  try {
    await mkdir(place, { recursive: true, mode: 0o700 });
    const content = await write(body, part, bytesMax);
    if (input.sha256 !== undefined && input.sha256 !== null && content.sha256 !== input.sha256)
      throw new StoreError("invalid_input", `sha256: the body has ${content.sha256}`, {
        operation: "artifacts.content",
      });
    await rename(part, path);
    await syncFolder(place);
    const { actor, requestId } = callOptions;
    const uri = pathToFileURL(path).href;
    // It has its name, so that a client that goes now finds the artifact.
    return await store.artifacts.commit(
      { artifactId, ...content, uri },
      { ...(actor === undefined ? {} : { actor }), ...(requestId === undefined ? {} : { requestId }) },
    );
  } catch (error) {
    await rm(part, { force: true });
    const ended = await store.artifacts.delete({ artifactId }).catch(() => undefined);
    // A collector removes a file that the store knows of.
    if (ended?.uri === null) await rm(path, { force: true });
    throw error;
  }
}

/** Writes a body into a file, on disk when this resolves. Fails when it ends early or is too large. */
async function write(body: ReadableStream<Uint8Array> | null, path: string, bytesMax: number) {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  const file = await open(path, "wx", 0o600);
  try {
    for await (const piece of (body ?? []) as AsyncIterable<Uint8Array>) {
      sizeBytes += piece.byteLength;
      if (sizeBytes > bytesMax) throw new RequestError("body_too_large", `the body has more than ${bytesMax} bytes`);
      hash.update(piece);
      await file.write(piece);
    }
    await file.sync();
  } catch (error) {
    if (error instanceof RequestError) throw error;
    if ((error as NodeJS.ErrnoException).code === "ENOSPC") throw new StoreError("storage_full");
    throw new StoreError("aborted", "the body has ended early", { cause: error });
  } finally {
    await file.close();
  }
  return { sizeBytes, sha256: hash.digest("hex") };
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
