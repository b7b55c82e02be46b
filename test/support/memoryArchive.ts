// A log archive in memory, whose requests a test can make fail, hang, or lie.
import type { LogArchive } from "../../src/index.ts";

type Verb = keyof LogArchive;

export class MemoryArchive implements LogArchive {
  readonly objects = new Map<string, Uint8Array>();
  readonly requests: Verb[] = [];
  /** Runs in place of the requests of a verb, as long as it is there. */
  readonly instead: Partial<Record<Verb, (key: string, act: () => unknown) => unknown>> = {};

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#run("put", key, () => void this.objects.set(key, Uint8Array.from(bytes)));
  }

  async get(key: string, { start, end }: { start: number; end: number }): Promise<Uint8Array | undefined> {
    return (await this.#run("get", key, () => this.objects.get(key)?.subarray(start, end))) as Uint8Array | undefined;
  }

  async delete(key: string): Promise<void> {
    await this.#run("delete", key, () => void this.objects.delete(key));
  }

  /** The number of requests of a verb so far. */
  count(verb: Verb): number {
    return this.requests.filter((one) => one === verb).length;
  }

  async #run(verb: Verb, key: string, act: () => unknown): Promise<unknown> {
    this.requests.push(verb);
    const instead = this.instead[verb];
    return instead === undefined ? act() : instead(key, act);
  }
}
