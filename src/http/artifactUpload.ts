// Receives the bytes of artifacts over HTTP. A file is received as a whole before it is announced, so that its hash is
// known: the same file again is the same artifact, and one that does not arrive replaces nothing.
import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { CallOptions } from "../client.ts";
import { StoreError } from "../errors.ts";
import type { Artifact } from "../model/artifacts.ts";
import { operations } from "../operations/table.ts";
import { present } from "../present.ts";
import { realTime } from "../realTime.ts";
import type { Store } from "../storeTypes.ts";
import { RequestError } from "./problems.ts";
import { requirePlainEncoding } from "./request.ts";

/** The time after which a file that was announced and never stored counts as failed, in milliseconds. */
const pendingMs = 6 * 3_600_000;

export interface Upload {
  readonly store: Pick<Store, "artifacts" | "sessions" | "tokens">;
  /** The folder of the server. */
  readonly folder: string;
  /** The largest size of a file in bytes. */
  readonly bytesMax: number;
  /** True while the client waits for `100 Continue`, and has not sent the body. */
  readonly awaitsContinue: boolean;
  readonly callOptions: CallOptions;
}

/** A new artifact, whose `ttlMs` is its lifetime, or one that was announced before. */
export type UploadInput =
  | Parameters<Store["artifacts"]["begin"]>[0]
  | { readonly artifactId: string; readonly sha256?: string | undefined; readonly ttlMs?: number | undefined };

/** Returns the media type of an upload, if it names one. Fails with a RequestError for a form, which is no file. */
export function uploadTypeOf(headers: Headers): string | undefined {
  requirePlainEncoding(headers);
  const contentType = headers.get("content-type") ?? undefined;
  const type = contentType?.split(";")[0]?.trim().toLowerCase();
  if (type?.startsWith("multipart/"))
    throw new RequestError(
      "unsupported_media_type",
      `content-type ${type}: send the bytes of the file alone as the body (curl --data-binary @FILE, not -F)`,
    );
  // Curl and browsers name this type when nobody has named one.
  return type === "application/x-www-form-urlencoded" ? undefined : contentType;
}

/**
 * Stores the body of a request as the file of an artifact, and returns the artifact. It is ready only when all of it is
 * on disk; a body that ends early, or that has another SHA-256 than `input.sha256` says, leaves no file. A body that is
 * not needed is read all the same if it was sent, because its connection carries the next request behind it.
 */
export async function upload(request: Request, input: UploadInput, options: Upload): Promise<Artifact> {
  const { bytesMax, awaitsContinue } = options;
  if (Number(request.headers.get("content-length") ?? 0) > bytesMax) throw tooLarge(bytesMax);
  const pieces = piecesOf(request, bytesMax);
  try {
    await requireReach(input, options);
    return await stored(pieces, input, options);
  } finally {
    if (!awaitsContinue || request.bodyUsed) for await (const _ of pieces);
  }
}

/** Fails unless the token of the sender may send this artifact. The calls that follow are the server's own. */
async function requireReach(input: UploadInput, { store, callOptions: { tokenId } }: Upload): Promise<void> {
  if (tokenId === undefined) return;
  const row = "artifactId" in input ? { artifactId: input.artifactId } : { sessionId: input.sessionId };
  const { code, message, missing } = await store.tokens.check({ tokenId, operation: "artifacts.begin", ...row });
  if (code !== null) throw new StoreError(code, message ?? undefined, { operation, details: { missing } });
}

type Pieces = AsyncGenerator<Uint8Array, void, undefined>;

/** Yields the pieces of a body, which nothing touches before. Fails when it ends early or is too large. */
async function* piecesOf(request: Request, bytesMax: number): Pieces {
  let sizeBytes = 0;
  try {
    for await (const piece of (request.body ?? []) as AsyncIterable<Uint8Array>) {
      sizeBytes += piece.byteLength;
      if (sizeBytes > bytesMax) throw tooLarge(bytesMax);
      yield piece;
    }
  } catch (error) {
    if (error instanceof RequestError) throw error;
    throw new StoreError("aborted", "the body has ended early", { cause: error });
  }
}

/** Returns the refusal of a body of which the rest is not read, so that its connection carries no other request. */
function tooLarge(bytesMax: number): RequestError {
  return new RequestError("body_too_large", `the body has more than ${bytesMax} bytes`, { connection: "close" });
}

async function stored(
  pieces: Pieces,
  input: UploadInput,
  { store, folder, callOptions: { idempotencyKey: _, tokenId: __, ...callOptions } }: Upload,
): Promise<Artifact> {
  if ("artifactId" in input) requireOnly(input, ["artifactId", "sha256", "ttlMs"]);
  const { sha256, ttlMs } = input;
  const announce = (hash: string | undefined) => announced(store, input, hash, callOptions);
  // A request that is refused for another reason than its file is refused before the file is received. With the hash of
  // the file in the query, everything is known before.
  let known = sha256 === undefined && !("artifactId" in input) ? undefined : await announce(sha256);
  if (known === undefined && !("artifactId" in input)) {
    operations.artifacts.begin.encode(input);
    await store.sessions.get({ sessionId: input.sessionId }, callOptions);
  }
  const { actor, requestId } = callOptions;
  // The file has its name when it is committed, so that a client that goes then finds the artifact.
  const commit = (artifactId: string, content: Content, uri: string) =>
    store.artifacts.commit({ artifactId, ...content, uri, ...present({ ttlMs }) }, present({ actor, requestId }));
  if (known?.artifact.state === "ready" && known.artifact.sha256 === sha256)
    return await commit(known.artifact.id, contentOf(known.artifact), known.artifact.uri ?? "");
  const root = resolve(folder);
  const part = await newPart(root);
  let path: string | undefined;
  try {
    const content = await receive(pieces, part);
    if (sha256 !== undefined && content.sha256 !== sha256)
      throw new StoreError("invalid_input", `sha256: the body has ${content.sha256}`, { operation });
    known ??= await announce(content.sha256);
    const { id, sessionId, state, uri } = known.artifact;
    if (state === "ready") {
      await rm(part, { force: true });
      return await commit(id, content, uri ?? "");
    }
    const place = join(root, sessionId);
    await mkdir(place, { recursive: true, mode: 0o700 });
    // Two that send different files for one artifact write two files, and one of them is committed.
    path = join(place, `${id}.${content.sha256.slice(0, 16)}`);
    await rename(part, path);
    await syncFolder(place);
    return await commit(id, content, pathToFileURL(path).href);
  } catch (error) {
    await rm(part, { force: true });
    if (known !== undefined) await giveUp(store, known, path);
    throw error;
  }
}

const operation = "artifacts.content";

function requireOnly(input: object, fields: readonly string[]): void {
  const other = Object.keys(input).find((field) => !fields.includes(field));
  if (other === undefined) return;
  throw new StoreError("invalid_input", `query: ${other} was set when the artifact was announced`, { operation });
}

interface Content {
  readonly sizeBytes: number;
  readonly sha256: string;
}

type Announced = Awaited<ReturnType<Store["artifacts"]["begin"]>>;

/** Announces the artifact of an upload, or returns the one that was announced. */
async function announced(
  store: Pick<Store, "artifacts">,
  input: UploadInput,
  sha256: string | undefined,
  callOptions: CallOptions,
): Promise<Announced> {
  if ("artifactId" in input) {
    const artifact = await store.artifacts.get({ artifactId: input.artifactId }, callOptions);
    if (artifact.state === "pending" || artifact.state === "ready") return { artifact, created: false };
    throw new StoreError("invalid_transition", `artifact ${artifact.id} is ${artifact.state}: announce a new one`, {
      operation,
      details: { entity: "artifact", state: artifact.state },
    });
  }
  try {
    return await store.artifacts.begin({ ...input, sha256, ttlMs: pendingMs }, callOptions);
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "conflict") throw error;
    const { reason, artifactId } = error.details;
    if (reason === "pending") {
      // One that was announced without its hash waits for its file.
      const artifact = await store.artifacts.get({ artifactId: String(artifactId) }, callOptions);
      if (artifact.state === "pending" && artifact.sha256 === null) return { artifact, created: false };
    }
    if (reason !== "pending" && reason !== "content") throw error;
    const message = `${error.message}; replace=true in the query replaces it`;
    throw new StoreError("conflict", message, { operation, details: error.details });
  }
}

function contentOf({ sizeBytes, sha256 }: Artifact): Content {
  return { sizeBytes: sizeBytes ?? 0, sha256: sha256 ?? "" };
}

/** Ends what was announced for an upload that has failed, and removes its file unless the store knows of it. */
async function giveUp(
  store: Pick<Store, "artifacts">,
  { artifact, created }: Announced,
  path: string | undefined,
): Promise<void> {
  const artifactId = artifact.id;
  const left = await (created ? store.artifacts.delete({ artifactId }) : store.artifacts.get({ artifactId })).catch(
    () => undefined,
  );
  // A collector removes a file that the store knows of.
  if (path !== undefined && left !== undefined && left.uri !== pathToFileURL(path).href)
    await rm(path, { force: true });
}

/** The time after which a part to which nothing was added is one of a server that was killed, in milliseconds. */
const partMs = 3_600_000;

/** Returns the path of a new file for what is being received, and removes those that killed servers have left. */
async function newPart(root: string): Promise<string> {
  const incoming = join(root, ".incoming");
  await mkdir(incoming, { recursive: true, mode: 0o700 });
  for (const name of await readdir(incoming)) {
    const path = join(incoming, name);
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && realTime.now() - found.mtimeMs > partMs) await rm(path, { force: true });
  }
  return join(incoming, randomUUID());
}

/** Writes the pieces of a body into a file, on disk when this resolves. */
async function receive(pieces: Pieces, path: string): Promise<Content> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  const file = await open(path, "wx", 0o600);
  try {
    // A loop over the pieces themselves would end them when it fails, and the rest could not be read.
    for (let next = await pieces.next(); !next.done; next = await pieces.next()) {
      sizeBytes += next.value.byteLength;
      hash.update(next.value);
      await file.writeFile(next.value);
    }
    await file.sync();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOSPC") throw new StoreError("storage_full");
    throw error;
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
