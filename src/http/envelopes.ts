// Serves remote stores: checks the requests of their clients, and keeps a session for each.

import type { MessagePort } from "node:worker_threads";
import { z } from "zod";
import { portBackend } from "../actor/ports.ts";
import { StoreError } from "../errors.ts";
import { defaultLimits, type Limits } from "../limits.ts";
import { FrameReader, framesType } from "../remote/frames.ts";
import { type ClientMessage, protocolVersion, type RequestFrame } from "../remote/protocol.ts";
import type { ConnectOptions } from "../storeTypes.ts";
import { operationsOf } from "./access.ts";
import type { CallMeter } from "./callMeter.ts";
import type { Identity } from "./identity.ts";
import { only, RemoteSession } from "./remoteSession.ts";
import type { BodyReader } from "./request.ts";

/** A store that can give a client a port of its own. */
export interface ConnectingStore {
  readonly limits?: Limits;
  connect(options?: ConnectOptions): MessagePort;
}

/** The clients that are served, of all tokens and of one. */
const [clientsMax, clientsOfTokenMax] = [10_000, 1_000];
/** The answers that are kept for all clients, in bytes. Beyond it, the session that keeps most is over. */
const keptBytesMax = 512 * 1024 * 1024;

interface RemoteClientsOptions {
  /** Ends the sessions when it fires. */
  readonly closing: AbortSignal | undefined;
  /** The bound of a request; it is larger where the store takes larger messages. */
  readonly bodyBytesMax: number;
  readonly meter: CallMeter;
}

export class RemoteClients {
  readonly #store: ConnectingStore;
  readonly #closing: AbortSignal | undefined;
  readonly #meter: CallMeter;
  readonly #bytesMax: number;
  readonly #sessions = new Map<string, RemoteSession>();
  #keptBytes = 0;

  constructor(store: ConnectingStore, { closing, bodyBytesMax, meter }: RemoteClientsOptions) {
    this.#store = store;
    this.#closing = closing;
    this.#meter = meter;
    // A message is bounded by the length of its texts, each character of which can take three bytes or more.
    this.#bytesMax = Math.max(2 * bodyBytesMax, 4 * (store.limits ?? defaultLimits).envelopeBytes);
    closing?.addEventListener("abort", () => this.#end(), { once: true });
  }

  /** Answers one request of a client. `identify` verifies its token once more. Fails with `invalid_input` when it is none. */
  async handle(
    bodies: BodyReader,
    request: Request,
    identity: Identity,
    identify: () => Promise<Identity>,
  ): Promise<Response> {
    const [head, ...messages] = parse(await bodies.read(request, this.#bytesMax + headBytesMax));
    const [what] = head;
    const clientId = what === "hello" ? head[2] : head[1];
    // Nobody gets the answers of a client without its token.
    const owner = identity.tokenId ?? identity.actor ?? "";
    const key = `${owner} ${clientId}`;
    const known = this.#sessions.get(key);
    if (what === "hello") {
      requireVersion(head[1]);
      if (this.#closing?.aborted) return framesResponse(only(["over", "ending"]));
      known?.end("gone");
      const { id } = this.#open(key, owner, identity);
      return framesResponse(only(["session", id, this.#store.limits ?? {}, this.#bytesMax]));
    }
    if (what === "bye") {
      known?.end("gone");
      return framesResponse(only(["beat"]));
    }
    // The port of a session is restricted to the scopes with which it began.
    if (known !== undefined && known.scopes !== scopesText(identity)) known.end("gone");
    if (known === undefined || known.isOver || known.id !== head[2]) return framesResponse(only(["over", "gone"]));
    if (what === "listen") return framesResponse(known.listen(head[3], identify));
    return framesResponse(only(known.post(head[3], messages, identity, head[4])));
  }

  #open(key: string, owner: string, identity: Identity): RemoteSession {
    const ofOwner = [...this.#sessions.keys()].filter((other) => other.startsWith(`${owner} `)).length;
    if (this.#sessions.size >= clientsMax || ofOwner >= clientsOfTokenMax)
      throw new StoreError("overloaded", `${ofOwner} clients of this token are served: close some`, {
        details: { retryAfterMs: 5_000 },
      });
    const { scopes } = identity;
    const port = this.#store.connect(scopes.includes("admin") ? {} : { operations: operationsOf(scopes) });
    const session = new RemoteSession(portBackend(port), {
      scopes: scopesText(identity),
      closing: this.#closing,
      meter: this.#meter,
      onKept: (bytes) => this.#kept(bytes),
      onOver: () => {
        if (this.#sessions.get(key) === session) this.#sessions.delete(key);
      },
    });
    this.#sessions.set(key, session);
    return session;
  }

  #kept(bytes: number): void {
    this.#keptBytes += bytes;
    if (this.#keptBytes <= keptBytesMax) return;
    const [most] = [...this.#sessions.values()].sort((one, other) => other.keptBytes - one.keptBytes);
    most?.end("overflow");
  }

  #end(): void {
    for (const session of this.#sessions.values()) session.endWaits();
  }
}

function scopesText({ scopes }: Identity): string {
  return scopes.toSorted().join(" ");
}

function requireVersion(version: number): void {
  if (version === protocolVersion) return;
  throw new StoreError(
    "incompatible",
    `the client speaks version ${version} of the protocol, and the server version ${protocolVersion}: use the same version of debug-server-db`,
    { details: { server: protocolVersion } },
  );
}

/** The largest first frame. */
const headBytesMax = 64 * 1024;

const count = z.int().min(0);
const clientId = z.string().regex(/^[\w-]{16,64}$/);
const sessionId = z.string().max(64);
const requestFrame = z.union([
  z.tuple([z.literal("hello"), count, clientId]),
  z.tuple([z.literal("bye"), clientId]),
  z.tuple([z.literal("listen"), clientId, sessionId, count]),
  z.tuple([z.literal("post"), clientId, sessionId, count, count]),
]);
/** The inputs of the calls are checked where they arrive. */
const message = z.union([
  z.tuple([count, z.literal("cancel"), count]),
  z.tuple([count, z.boolean(), z.array(z.unknown()).min(3)]).refine(([, , calls]) => calls.length % 3 === 0),
]);

/** Parses a request of a client. Fails with `invalid_input`. */
function parse(body: Uint8Array): [RequestFrame, ...ClientMessage[]] {
  const reader = new FrameReader(body.byteLength);
  const [value, ...others] = reader.read(body);
  const head = requestFrame.safeParse(value);
  const messages = others.map((other) => message.safeParse(other));
  const isWhole = !reader.isWithinFrame && (others.length === 0 || head.data?.[0] === "post");
  if (!head.success || !isWhole || messages.some(({ success }) => !success))
    throw new StoreError("invalid_input", "body: expected a request of a remote store");
  return [head.data, ...messages.map(({ data }) => data as ClientMessage)];
}

function framesResponse(body: ReadableStream<Uint8Array>): Response {
  return new Response(body, {
    headers: { "content-type": framesType, "cache-control": "no-store", "x-accel-buffering": "no" },
  });
}
