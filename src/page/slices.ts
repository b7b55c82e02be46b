// Work in slices: a long loop gives way to input and to the next frame every few milliseconds.

/** The time after which work gives way, in milliseconds: with what the browser does itself, it fits a frame of 16 ms. */
const sliceMs = 6;

export class Slices {
  #sinceMs = performance.now();

  /** Gives way when the slice is over. Call it after each piece of work. */
  async turn(): Promise<void> {
    if (performance.now() - this.#sinceMs < sliceMs) return;
    await nextTask();
    this.#sinceMs = performance.now();
  }
}

const channel = new MessageChannel();
const waiting: (() => void)[] = [];
channel.port1.onmessage = () => waiting.shift()?.();

/** Resolves in a task of its own, which a hidden tab does not delay as it does with timers. */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(undefined);
  });
}
