// The log archive of a caller, which lives in the thread that opened the store: the database thread asks for its objects,
// and the owner of the thread answers.
import { types } from "node:util";
import type { LogArchive } from "../archive/logArchive.ts";
import { messageOf } from "../model/realms.ts";
import type { RemoteControl } from "./control.ts";

/** A request of the database thread. */
export interface ArchiveRequest {
  readonly id: number;
  readonly verb: "put" | "get" | "delete";
  readonly key: string;
  /** The object to put. */
  readonly bytes?: Uint8Array;
  /** The part of the object to get. */
  readonly range?: { readonly start: number; readonly end: number };
}

/** The archive as the database thread sees it. A request that is never answered has a deadline where it is made. */
export class OwnersArchive implements LogArchive {
  readonly #send: (request: ArchiveRequest) => void;
  readonly #asked = new Map<number, PromiseWithResolvers<Uint8Array | undefined>>();
  #lastId = 0;

  constructor(send: (request: ArchiveRequest) => void) {
    this.#send = send;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#ask({ verb: "put", key, bytes });
  }

  get(key: string, range: { readonly start: number; readonly end: number }): Promise<Uint8Array | undefined> {
    return this.#ask({ verb: "get", key, range });
  }

  async delete(key: string): Promise<void> {
    await this.#ask({ verb: "delete", key });
  }

  /** Settles a request. */
  answer(id: number, bytes: Uint8Array | undefined, failed: string | undefined): void {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if (failed === undefined) asked?.resolve(bytes);
    else asked?.reject(new Error(failed));
  }

  #ask(request: Omit<ArchiveRequest, "id">): Promise<Uint8Array | undefined> {
    const id = ++this.#lastId;
    const asked = Promise.withResolvers<Uint8Array | undefined>();
    this.#asked.set(id, asked);
    this.#send({ id, ...request });
    return asked.promise;
  }
}

/** Has the archive of the owner answer a request. Its failure is sent as text, because any value can be thrown. */
export function answerArchive(control: RemoteControl, archive: LogArchive | undefined, request: ArchiveRequest): void {
  const { id } = request;
  void run(archive as LogArchive, request).then(
    (bytes) => void control.answerArchive(id, bytes, undefined),
    (error) => void control.answerArchive(id, undefined, messageOf(error)),
  );
}

async function run(archive: LogArchive, { verb, key, bytes, range }: ArchiveRequest): Promise<Uint8Array | undefined> {
  if (verb === "put") await archive.put(key, bytes as Uint8Array);
  else if (verb === "delete") await archive.delete(key);
  else {
    const part = await archive.get(key, range as { start: number; end: number });
    if (part === undefined) return undefined;
    if (!types.isUint8Array(part)) throw new Error("the log archive returned no Uint8Array");
    // A copy: a view would send the whole of a larger buffer.
    return new Uint8Array(part);
  }
  return undefined;
}
