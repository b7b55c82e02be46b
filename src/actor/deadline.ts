// Bounds the time for which a promise is awaited.
import { realTime } from "../realTime.ts";

/** Resolves when the promise resolves, or when the time has passed. */
export async function within(ms: number, promise: Promise<void>): Promise<void> {
  const { promise: timeout, resolve } = Promise.withResolvers<void>();
  const timer = realTime.setTimeout(resolve, ms);
  await Promise.race([promise, timeout]);
  realTime.clearTimeout(timer);
}
