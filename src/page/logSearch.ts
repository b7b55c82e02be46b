// Finds text in the lines of a log, in slices, and goes on as the log grows.
import { mayHold, plainText } from "./ansi.ts";
import type { LogText } from "./logText.ts";
import { Slices } from "./slices.ts";

/** The bytes that are decoded at once. */
const groupBytes = 64 * 1024;
const hitsMax = 100_000;

export class LogSearch {
  readonly query: string;
  /** The lines with the text, in their order. */
  readonly hits: number[] = [];
  readonly #text: LogText;
  readonly #onFound: () => void;
  #searchedTo = 0;
  #isRunning = false;
  #isEnded = false;

  /** Searches lines for text in upper or lower case, and calls `onFound` as it goes. */
  constructor(text: LogText, query: string, onFound: () => void) {
    this.#text = text;
    this.query = query.toLowerCase();
    this.#onFound = onFound;
  }

  get isDone(): boolean {
    return this.#searchedTo >= this.#text.completeCount;
  }

  get isFull(): boolean {
    return this.hits.length >= hitsMax;
  }

  end(): void {
    this.#isEnded = true;
  }

  /** Searches what is there now. Call it again when the log has grown. */
  async run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    const slices = new Slices();
    while (!this.#isEnded && !this.isDone && !this.isFull) {
      this.#searchGroup();
      this.#onFound();
      await slices.turn();
    }
    this.#isRunning = false;
    if (!this.#isEnded) this.#onFound();
  }

  #searchGroup(): void {
    const text = this.#text;
    const from = this.#searchedTo;
    const end = text.startOf(from) + groupBytes;
    let to = from + 1;
    while (to < text.completeCount && text.startOf(to + 1) <= end) to++;
    const group = text.text(from, to);
    this.#searchedTo = to;
    if (!mayHold(group, this.query)) return;
    for (let line = from; line < to && !this.isFull; line++)
      if (plainText(text.line(line)).toLowerCase().includes(this.query)) this.hits.push(line);
  }
}
