// Reads blocks of archived logs: neighbours in one request, each request with a deadline, the last ones kept in memory.
import { types } from "node:util";
import { StoreError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { keyOfUri } from "../model/archiveKeys.ts";
import { type BlockAddress, blockName, type ExamineDepth, type StoredChunk } from "../model/logBlocks.ts";
import { messageOf } from "../model/realms.ts";
import { unpackBlock } from "./blockFormat.ts";
import { ask } from "./deadline.ts";
import type { LogArchive } from "./logArchive.ts";

interface CachedBlock {
  readonly chunks: readonly StoredChunk[];
  readonly bytes: number;
}

export class BlockReader {
  readonly #archive: LogArchive;
  readonly #limits: Pick<Limits, "logArchiveReadMs" | "logCacheBytes">;
  /** The blocks that were read last, the oldest first. */
  readonly #cache = new Map<string, CachedBlock>();
  #cachedBytes = 0;
  readonly #counts = { archiveReads: 0, archiveReadBytes: 0, archiveReadFailures: 0 };

  constructor(archive: LogArchive, limits: Pick<Limits, "logArchiveReadMs" | "logCacheBytes">) {
    this.#archive = archive;
    this.#limits = limits;
  }

  /** Returns the chunks in a block if it was read lately. */
  cached(name: string): readonly StoredChunk[] | undefined {
    const block = this.#cache.get(name);
    if (block === undefined) return undefined;
    this.#cache.delete(name);
    this.#cache.set(name, block);
    return block.chunks;
  }

  /**
   * Reads blocks. Fails with io_error when the archive does not answer in time, or fails; with corrupt when an object is
   * missing or damaged.
   */
  async read(blocks: readonly BlockAddress[]): Promise<ReadonlyMap<string, readonly StoredChunk[]>> {
    try {
      const parts = await Promise.all(neighbours(blocks).map((run) => this.#readRun(run)));
      return new Map(parts.flat());
    } catch (error) {
      this.#counts.archiveReadFailures++;
      throw error;
    }
  }

  /**
   * Returns the faults of blocks, null for one that has none. Each is examined by itself, and none is kept. Fails with
   * io_error when the archive does not answer in time, or fails.
   */
  async examine(blocks: readonly BlockAddress[], depth: ExamineDepth): Promise<ReadonlyMap<string, string | null>> {
    return new Map(
      await Promise.all(blocks.map(async (block) => [blockName(block), await this.#faultOf(block, depth)] as const)),
    );
  }

  figures(): Readonly<Record<string, number>> {
    return this.#counts;
  }

  async #readRun(run: readonly BlockAddress[]): Promise<readonly [string, readonly StoredChunk[]][]> {
    const [head, last] = [run[0] as BlockAddress, run.at(-1) as BlockAddress];
    const { uri, object_offset: start } = head;
    const end = last.object_offset + last.object_length;
    const bytes = await this.#get(uri, { start, end });
    return Promise.all(
      run.map(async (address): Promise<[string, readonly StoredChunk[]]> => {
        const at = address.object_offset - start;
        const chunks = await unpackBlock(bytes.subarray(at, at + address.object_length), address);
        this.#keep(blockName(address), { chunks, bytes: address.raw_length });
        return [blockName(address), chunks];
      }),
    );
  }

  /** Returns bytes of an object. Fails with corrupt when there is no such object. */
  async #get(uri: string, range: { readonly start: number; readonly end: number }): Promise<Uint8Array> {
    const key = keyOfUri(uri);
    this.#counts.archiveReads++;
    const bytes = await ask(() => this.#archive.get(key, range), this.#limits.logArchiveReadMs).catch(
      (error: unknown) => {
        throw unavailable(uri, error);
      },
    );
    if (bytes === undefined)
      throw new StoreError("corrupt", `${uri} is not in the log archive`, { details: { reason: "log_archive", uri } });
    if (!types.isUint8Array(bytes)) throw unavailable(uri, new Error("the log archive returned no Uint8Array"));
    this.#counts.archiveReadBytes += bytes.byteLength;
    return bytes;
  }

  async #faultOf(block: BlockAddress, depth: ExamineDepth): Promise<string | null> {
    const { uri, object_offset: start, object_length: length } = block;
    try {
      if (depth === "content") await unpackBlock(await this.#get(uri, { start, end: start + length }), block);
      else if ((await this.#get(uri, { start: start + length - 1, end: start + length })).byteLength !== 1)
        return `${uri} ends before ${start + length} bytes`;
      return null;
    } catch (error) {
      if (error instanceof StoreError && error.code === "corrupt") return error.message;
      throw error;
    }
  }

  #keep(name: string, block: CachedBlock): void {
    if (this.#cache.has(name)) return;
    this.#cache.set(name, block);
    this.#cachedBytes += block.bytes;
    for (const [oldest, { bytes }] of this.#cache) {
      if (this.#cachedBytes <= this.#limits.logCacheBytes) break;
      this.#cache.delete(oldest);
      this.#cachedBytes -= bytes;
    }
  }
}

/** Returns the blocks in runs of those that follow each other in an object. */
function neighbours(blocks: readonly BlockAddress[]): readonly (readonly BlockAddress[])[] {
  const runs: BlockAddress[][] = [];
  for (const block of blocks) {
    const run = runs.at(-1);
    const last = run?.at(-1);
    if (last !== undefined && last.uri === block.uri && last.object_offset + last.object_length === block.object_offset)
      run?.push(block);
    else runs.push([block]);
  }
  return runs;
}

function unavailable(uri: string, error: unknown): StoreError {
  if (error instanceof StoreError && error.code === "corrupt") return error;
  return new StoreError("io_error", `${uri} cannot be read: ${messageOf(error)}`, {
    details: { reason: "log_archive", uri },
    cause: error,
  });
}
