// Chooses the chunks of a log whose times go into the index of its archive: few, and spread over the time of the log.
import type { StoredChunk, TimedPosition } from "../model/logBlocks.ts";

/** The number of marks of a log at which every second one goes. At least half as many spans of time have one each. */
export const marksMax = 512;

/**
 * The first chunk of each span of time. The spans begin with a millisecond and double whenever there are too many of them, so
 * none is longer than 1/256 of the log's time, however long the log turns out to be. After the clock was set back, the next
 * mark is the first chunk that is later than all before it.
 */
export class TimeMarks {
  #spanMs = 1;
  #marks: TimedPosition[] = [];

  add({ start_offset, start_line, at }: StoredChunk): void {
    const last = this.#marks.at(-1);
    if (last !== undefined && this.#spanOf(at) <= this.#spanOf(last.at)) return;
    this.#marks.push({ start_offset, start_line, at });
    while (this.#marks.length > marksMax) {
      this.#spanMs *= 2;
      this.#marks = this.#marks.filter(
        (mark, index, all) => index === 0 || this.#spanOf(mark.at) > this.#spanOf((all[index - 1] as TimedPosition).at),
      );
    }
  }

  /** Returns the marks in a part of the log. */
  between(startOffset: number, endOffset: number): readonly TimedPosition[] {
    return this.#marks.filter(({ start_offset }) => start_offset >= startOffset && start_offset < endOffset);
  }

  #spanOf(at: number): number {
    return Math.floor(at / this.#spanMs);
  }
}
