// Moves sealed logs to the log archive in the background, one at a time, and removes objects that are not needed any more
// (D-120, D-146). Every step is a call of logMoves.ts or files.ts, so several servers can share the work.
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { packLog } from "../archive/blockFormat.ts";
import { ask } from "../archive/deadline.ts";
import type { LogArchive } from "../archive/logArchive.ts";
import { fromWireFailure } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import { bounds, type Limits } from "../limits.ts";
import { keyOfUri } from "../model/archiveKeys.ts";
import type { StoredChunk } from "../model/logBlocks.ts";
import { messageOf } from "../model/realms.ts";
import * as files from "../operations/files.ts";
import * as moves from "../operations/logMoves.ts";
import { realTime, sleep } from "../realTime.ts";
import { within } from "./deadline.ts";
import type { Inbox } from "./mailbox.ts";

interface LogMoverOptions {
  readonly inbox: Inbox;
  readonly archive: LogArchive;
  readonly limits: Limits;
  onEvent(event: StoreEvent): void;
}

interface Move {
  readonly moveId: number;
  readonly fence: number;
  readonly task: "write" | "clear";
  readonly uri: string;
  readonly logBytes: number;
}

/** The pause between two logs, so that moves leave most of the machine to others. */
const pauseMs = 10;

export class LogMover {
  readonly #options: LogMoverOptions;
  readonly #closing = new AbortController();
  readonly #counts = {
    logsArchived: 0,
    logBytesArchived: 0,
    objectBytesArchived: 0,
    objectsDeleted: 0,
    moveFailures: 0,
  };
  #envelopeId = 0;
  /** The pass that is running. */
  #pass: Promise<void> | undefined;
  /** True when something is due that the running pass may have missed. */
  #isDue = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LogMoverOptions) {
    this.#options = options;
    this.#startAfter(Math.min(firstPassMs, options.limits.logArchiveEveryMs));
  }

  /** Looks at once for moves that are due. */
  wake(): void {
    this.#isDue = true;
    if (this.#pass === undefined) this.#start();
  }

  figures(): Readonly<Record<string, number>> {
    return this.#counts;
  }

  /** Begins no further step. Waits a little for the one that runs; what it leaves is found when its lease has ended. */
  async stop(): Promise<void> {
    const { closeMs } = this.#options.limits;
    realTime.clearTimeout(this.#timer);
    this.#isStopped = true;
    // A step that waits for the archive is left soon: the calls of other clients share the time for closing.
    if (this.#pass !== undefined) await within(closeMs / 10, this.#pass);
    this.#closing.abort();
    await this.#pass;
  }

  #isStopped = false;

  #startAfter(ms: number): void {
    this.#timer = realTime.setTimeout(() => this.#start(), ms).unref();
  }

  #start(): void {
    realTime.clearTimeout(this.#timer);
    if (this.#isStopped || this.#pass !== undefined) return;
    this.#isDue = false;
    this.#pass = this.#run().then((failed) => {
      this.#pass = undefined;
      if (this.#isStopped) return;
      // After a failure, what is due waits too: the archive would most likely fail again.
      this.#startAfter(this.#isDue && !failed ? 0 : this.#options.limits.logArchiveEveryMs);
    });
  }

  /** Makes a pass over all logs that are due. Returns true when it ended early because something failed. */
  async #run(): Promise<boolean> {
    let afterId = 0;
    for (let more = true; more && !this.#isStopped; ) {
      let move: Move | null = null;
      try {
        const claimed = { afterId, objectId: randomUUID() };
        ({ move, afterId, more } = await this.#call("logMoves.claim", moves.claim, claimed));
        if (move === null) continue;
        if (move.task === "write") await this.#write(move);
        else await this.#clear(move);
        await this.#pause();
      } catch (error) {
        this.#reportFailure(
          move === null ? "no log can be moved to the archive" : `${move.uri}: its move failed`,
          error,
        );
        return true;
      }
    }
    return !(await this.#removeObjects());
  }

  /** Removes the objects that are due, one at a time. Returns false when it ended early because something failed. */
  async #removeObjects(): Promise<boolean> {
    const { archive, limits } = this.#options;
    const owner = `log mover ${process.pid} on ${hostname()}`.slice(0, 200);
    const ttlMs = Math.max(bounds.leaseMsMin, limits.logMoveMs);
    while (!this.#isStopped) {
      let object: { readonly id: string; readonly fence: number; readonly uri: string } | undefined;
      try {
        const claim = { owner, kinds: "log" as const, limit: 1, ttlMs };
        [object] = (await this.#call("files.claim", files.claim, claim)).files;
        if (object === undefined) break;
        const { id, fence, uri } = object;
        await this.#ask(() => archive.delete(keyOfUri(uri)), limits.logMoveMs / 2);
        await this.#call("files.acknowledge", files.acknowledge, { files: [{ id, fence }] });
        this.#counts.objectsDeleted++;
        await this.#pause();
      } catch (error) {
        if (object !== undefined && !this.#isStopped) await this.#giveBack(object, error);
        const what = object === undefined ? "no archived log can be removed" : `${object.uri}: its removal failed`;
        this.#reportFailure(what, error);
        return false;
      }
    }
    return true;
  }

  /** Gives an object back that could not be removed. Without an answer its lease ends by itself. */
  async #giveBack({ id, fence }: { readonly id: string; readonly fence: number }, error: unknown): Promise<void> {
    const failed = { id, fence, error: messageOf(error) };
    await this.#call("files.fail", files.fail, { files: [failed] }).catch(() => undefined);
  }

  #pause(): Promise<void> {
    return sleep(pauseMs, { ref: false, signal: this.#closing.signal });
  }

  async #write(move: Move): Promise<void> {
    const { archive, limits, onEvent } = this.#options;
    const { moveId, fence, uri, logBytes } = move;
    const { object, blocks } = await packLog(this.#pagesOf(move), logBytes);
    // Reading may have taken long. Nothing is stored under a lease that is about to end.
    const { held } = await this.#call("logMoves.renew", moves.renew, { moveId, fence });
    if (!held) return;
    await this.#ask(() => archive.put(keyOfUri(uri), object), limits.logMoveMs / 2);
    const { committed } = await this.#call("logMoves.commit", moves.commit, {
      moveId,
      fence,
      blocks: moves.blocksInput(blocks),
    });
    if (!committed) return;
    this.#counts.logsArchived++;
    this.#counts.logBytesArchived += logBytes;
    this.#counts.objectBytesArchived += object.byteLength;
    onEvent({ type: "log_archived", uri, logBytes, objectBytes: object.byteLength });
    await this.#clear(move);
  }

  async *#pagesOf({ moveId, fence }: Move): AsyncGenerator<readonly StoredChunk[]> {
    for (let [from, more] = [0, true]; more; ) {
      if (this.#isStopped) throw new Error("the store is closing");
      const { chunks, areLast } = await this.#call("logMoves.read", moves.read, { moveId, fence, from });
      yield chunks;
      const last = chunks.at(-1);
      more = !areLast && last !== undefined;
      if (last !== undefined) from = last.start_offset + last.byte_length;
    }
  }

  async #clear({ moveId, fence }: Move): Promise<void> {
    for (let more = true; more && !this.#isStopped; )
      ({ more } = await this.#call("logMoves.clear", moves.clear, { moveId, fence }));
  }

  #ask(request: () => Promise<void>, ms: number): Promise<void> {
    return ask(request, ms, this.#closing.signal);
  }

  async #call<Input, Output>(
    name: string,
    operation: { encode(input: unknown): unknown[]; output: { fromWire(wire: unknown): unknown } } & {
      seal(input: Input): unknown;
      open(output: unknown, localPart: unknown): Output;
    },
    input: Input,
  ): Promise<Output> {
    const [, , [ok, wire]] = await this.#options.inbox.post([
      ++this.#envelopeId,
      false,
      [name, operation.encode(input), ["log mover", undefined]],
    ]);
    if (ok !== true) throw fromWireFailure(wire as never, name);
    return operation.open(operation.output.fromWire(wire), undefined);
  }

  #reportFailure(what: string, error: unknown): void {
    if (this.#isStopped) return;
    this.#counts.moveFailures++;
    const { code = "io_error", message } = error as { readonly code?: string; readonly message?: string };
    // A file that is lost or read-only is reported once by its driver, or when it is opened.
    if (code === "closed" || code === "file_lost" || code === "read_only") return;
    this.#options.onEvent({
      type: "fault",
      code,
      message: `${what}: ${message ?? messageOf(error)}`,
      cause: undefined,
    });
  }
}

/** The time after the start of a server at which it first looks for logs to move. */
const firstPassMs = 1_000;
