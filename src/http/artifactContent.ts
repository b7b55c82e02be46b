// Sends the bytes of artifacts over HTTP: files below one folder of the server, as a whole or a part of one.
import { constants } from "node:fs";
import { type FileHandle, open, realpath } from "node:fs/promises";
import { relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import type { CallOptions } from "../client.ts";
import { StoreError } from "../errors.ts";
import { bounds } from "../limits.ts";
import type { Artifact } from "../model/artifacts.ts";
import { present } from "../present.ts";
import type { Store } from "../storeTypes.ts";
import { RequestError } from "./problems.ts";

const operation = "artifacts.content";

/** An artifact by its id, or the newest ready one of a name in a session, perhaps of one command and attempt. */
export interface Asked {
  readonly artifactId?: string;
  readonly sessionId?: string;
  readonly commandId?: string;
  readonly attempt?: number;
  readonly name?: string;
}

/** Returns the artifact that a request asks for. Fails with `invalid_input` or `not_found`. */
export async function askedArtifact(
  store: Pick<Store, "artifacts">,
  { artifactId, sessionId, commandId, attempt, name }: Asked,
  callOptions: CallOptions,
): Promise<Artifact> {
  if (artifactId !== undefined) return await store.artifacts.get({ artifactId }, callOptions);
  if (sessionId === undefined || name === undefined)
    throw new StoreError("invalid_input", "query: expected artifactId, or sessionId and name", { operation });
  // Names are stored in this form.
  const stored = name.normalize("NFKC");
  const input = {
    sessionId,
    ...present({ commandId }),
    state: "ready" as const,
    order: "desc" as const,
    limit: bounds.pageRowsMax,
  };
  for await (const artifact of store.artifacts.all(input, callOptions))
    if (artifact.name === stored && (attempt === undefined || artifact.attempt === attempt)) return artifact;
  throw new StoreError(
    "not_found",
    `session ${sessionId} has no ready artifact of the name ${JSON.stringify(stored)}`,
    {
      operation,
      details: { entity: "artifact", name: stored },
    },
  );
}

/**
 * Returns the response with the file of a ready artifact, or with the part of it that Range names. Fails with `not_found`
 * when the artifact has no file, or when its file is not in the folder. `onError` receives what fails after that.
 */
export async function contentOf(
  artifact: Artifact,
  folder: string,
  request: Request,
  onError: (error: unknown) => void,
): Promise<Response> {
  const { sha256, contentType, name } = artifact;
  const { file, size } = await fileOf(artifact, folder);
  let body: ReadableStream<Uint8Array> | null = null;
  try {
    const etag = sha256 === null ? undefined : `"${sha256}"`;
    const range = rangeOf(request.headers, size, etag);
    const { start, end } = range ?? { start: 0, end: size - 1 };
    const headers = new Headers({
      "content-type": contentType ?? "application/octet-stream",
      "content-length": String(end - start + 1),
      ...(range === undefined ? {} : { "content-range": `bytes ${start}-${end}/${size}` }),
      "accept-ranges": "bytes",
      // A program has made it: a browser should save it, and guess nothing.
      "content-disposition": attachmentOf(name.split("/").at(-1) ?? name),
      "x-content-type-options": "nosniff",
      "cache-control": "private, no-store",
      ...present({ etag }),
    });
    if (request.method !== "HEAD" && size > 0) body = bytesOf(file, start, end, onError);
    return new Response(body, { status: range === undefined ? 200 : 206, headers });
  } finally {
    if (body === null) await file.close();
  }
}

/** The size of one piece of a body in bytes. */
const pieceBytes = 64 * 1024;

/** Returns the bytes of a file from `start` to `end`, and closes it after them. Fails when it has become shorter. */
function bytesOf(
  file: FileHandle,
  start: number,
  end: number,
  onError: (error: unknown) => void,
): ReadableStream<Uint8Array> {
  let position = start;
  let isLeft = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const buffer = new Uint8Array(Math.min(pieceBytes, end - position + 1));
          const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
          if (isLeft) return;
          if (bytesRead === 0) throw new Error(`the file of an artifact has ended at ${position}, before ${end + 1}`);
          position += bytesRead;
          controller.enqueue(buffer.subarray(0, bytesRead));
          if (position <= end) return;
          controller.close();
        } catch (error) {
          if (isLeft) return;
          onError(error);
          controller.error(error);
        }
        await file.close();
      },
      async cancel() {
        isLeft = true;
        await file.close();
      },
    },
    { highWaterMark: 0 },
  );
}

interface OpenFile {
  readonly file: FileHandle;
  readonly size: number;
}

/** Opens the file of an artifact. Fails with `not_found`, with the reason why there is none. */
async function fileOf(artifact: Artifact, folder: string): Promise<OpenFile> {
  const { id, state, uri } = artifact;
  const refuse = (why: string): never => {
    throw new StoreError("not_found", `artifact ${id} ${why}`, {
      operation,
      details: { entity: "artifact", id, state },
    });
  };
  if (state === "failed") refuse("has failed: its file was never stored as a whole");
  if (state === "pending") refuse("is pending: its file is still on its way");
  if (state === "deleted") refuse("was deleted");
  const found = uri?.startsWith("file:") ? await openWithin(uri, folder) : undefined;
  return found ?? refuse("has no file on this server: its uri says where it is");
}

/** The failures of this server; with all others, a uri leads to no file. */
const ownFailures: readonly unknown[] = ["EACCES", "EIO", "EMFILE", "ENFILE", "ENOMEM"];

/** Opens a file that is below the folder, whatever symbolic links lead there. */
async function openWithin(uri: string, folder: string): Promise<OpenFile | undefined> {
  let file: FileHandle | undefined;
  try {
    const [real, root] = await Promise.all([realpath(fileURLToPath(uri)), realpath(folder)]);
    const way = relative(root, real);
    if (way === "" || way === ".." || way.startsWith(`..${sep}`)) return undefined;
    // A pipe would be waited for.
    file = await open(real, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const stats = await file.stat();
    if (stats.isFile()) return { file, size: stats.size };
  } catch (error) {
    if (ownFailures.includes((error as NodeJS.ErrnoException).code)) throw error;
  }
  await file?.close();
  return undefined;
}

/** Names a file for those who know only ASCII, and for all others: https://www.rfc-editor.org/rfc/rfc6266#section-4.3 */
function attachmentOf(name: string): string {
  const plain = name.replaceAll(/[^\x20-\x7e]/g, "_").replaceAll(/["\\%]/g, "_");
  // encodeURIComponent leaves these characters, and the header does not take them: https://www.rfc-editor.org/rfc/rfc8187#section-3.2.1
  const encoded = encodeURIComponent(name).replaceAll(/['()*]/g, (one) => `%${one.charCodeAt(0).toString(16)}`);
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}

/**
 * Returns the part of a file that a request asks for: one range of bytes. Other forms are answered with the whole file, as
 * https://www.rfc-editor.org/rfc/rfc9110#section-14.2 allows. Fails with a RequestError when it starts past the end.
 */
function rangeOf(headers: Headers, size: number, etag: string | undefined): { start: number; end: number } | undefined {
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(headers.get("range") ?? "") ?? [];
  const condition = headers.get("if-range");
  if (first === undefined || last === undefined || (condition !== null && condition !== etag)) return undefined;
  if (first === "" ? last === "" : last !== "" && Number(last) < Number(first)) return undefined;
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  if (start >= size)
    throw new RequestError("range_not_satisfiable", `the file has ${size} bytes`, {
      "content-range": `bytes */${size}`,
    });
  return { start, end: first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1) };
}
