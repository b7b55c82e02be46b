// Stores artifacts on the server of a remote store, from where every client gets them.
import { createReadStream } from "node:fs";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import type { StoreServerAddress } from "../../index.ts";
import { present } from "../../present.ts";
import { sleep } from "../../realTime.ts";
import { type ArtifactSink, localSink, type PutOptions } from "./sink.ts";

/** The server keeps no files of artifacts. */
class KeepsNone extends Error {
  override readonly name: string = "KeepsNone";
}

/** The pauses before an upload that was cut off is made again, in milliseconds. */
const pausesMs = [200, 1_000, 5_000];
/** The statuses of servers that end, and of proxies before a server that is not there. */
const passing = [408, 425, 429, 502, 503, 504];

/** Stores artifacts on the server of a remote store, whose option `artifactsFolder` names the place for them. */
export function serverSink(server: StoreServerAddress): ArtifactSink {
  return {
    async put(_key, path, options) {
      for (const pauseMs of [...pausesMs, undefined]) {
        const answer = await send(server, path, options).catch((error: Error) => error);
        options.signal.throwIfAborted();
        if (!(answer instanceof Error) && !passing.includes(answer.status)) return { uri: uriIn(answer) };
        if (pauseMs === undefined)
          throw new Error(`the server of the store: ${answer instanceof Error ? answer.message : answer.status}`);
        await sleep(pauseMs, { signal: options.signal });
      }
      throw new Error("unreachable");
    },
  };
}

/** Returns the sink of a runner that was given none: the server of its store, if that keeps files, or else its folder. */
export function defaultSink(folder: string, server: StoreServerAddress | undefined): ArtifactSink {
  const local = localSink(folder);
  if (server === undefined) return local;
  const remote = serverSink(server);
  return {
    put: (key, path, options) =>
      remote.put(key, path, options).catch((error: unknown) => {
        if (error instanceof KeepsNone) return local.put(key, path, options);
        throw error;
      }),
    delete: async (uri) => await local.delete?.(uri),
  };
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Sends a file as that of its artifact, which was announced. Sending it again changes nothing. */
async function send({ url, token }: StoreServerAddress, path: string, options: PutOptions): Promise<Answer> {
  const { artifactId, sha256, sizeBytes, ttlMs, signal } = options;
  if (artifactId === undefined)
    throw new TypeError("artifactId: the server stores files of artifacts that were announced");
  const socketPath = /^unix:(.+)$/.exec(url)?.[1];
  const base = new URL(socketPath === undefined ? url : "http://localhost");
  const query = new URLSearchParams({ artifactId, sha256, ...(ttlMs === undefined ? {} : { ttlMs: String(ttlMs) }) });
  const request = base.protocol === "https:" ? httpsRequest : httpRequest;
  const sent = request({
    ...(socketPath === undefined
      ? { host: base.hostname.replace(/^\[|\]$/g, ""), ...present({ port: base.port || undefined }) }
      : { socketPath }),
    method: "POST",
    path: `${base.pathname.replace(/\/+$/, "")}/v1/artifacts.content?${query}`,
    headers: {
      host: base.host,
      "content-length": sizeBytes,
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    agent: false,
    signal,
  });
  const file = createReadStream(path);
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      sent.once("response", resolve);
      sent.once("error", reject);
      file.once("error", reject);
      file.pipe(sent);
    });
    let text = "";
    for await (const piece of response as AsyncIterable<Uint8Array>) text += Buffer.from(piece).toString();
    return { status: response.statusCode as number, text };
  } finally {
    file.destroy();
    // A refusal may come before the file is sent.
    sent.on("error", () => undefined);
    sent.destroy();
  }
}

/** Returns where the server has stored a file. Fails as it has refused it. */
function uriIn({ status, text }: Answer): string {
  const answer = parse(text);
  if (status === 200 && typeof answer.uri === "string") return answer.uri;
  if (answer.code === "no_such_path") throw new KeepsNone("the server of the store keeps no files of artifacts");
  throw new Error(`the server of the store: ${typeof answer.detail === "string" ? answer.detail : status}`);
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}
