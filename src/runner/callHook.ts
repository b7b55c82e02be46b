// Waits for a function of the user, but not for ever once its work has to stop.
import { realTime } from "../realTime.ts";

/** The time that a function has to end after its signal has fired, unless the caller says otherwise. */
const graceMsDefault = 5_000;

export interface HookLimits {
  /** Asks the function to end. It may take `graceMs` from then on, for example to end what it has started. */
  readonly signal: AbortSignal;
  /** Ends the wait at once. */
  readonly lost?: AbortSignal | undefined;
  /** The time between the signal and the end of the wait, in milliseconds. Defaults to 5 000. */
  readonly graceMs?: number | undefined;
}

/** A function of the user that went on when its work had to stop. What it still does is unknown. */
export class HookAbandoned extends Error {
  override readonly name: string = "HookAbandoned";
}

/**
 * Calls a function of the user, and returns what it returns. Fails as it fails, or with HookAbandoned when it has not
 * ended in time after the signal has fired. If that was before the call, the time begins with the call.
 */
export async function callHook<Result>(
  name: string,
  call: () => Result | Promise<Result>,
  { signal, lost, graceMs = graceMsDefault }: HookLimits,
): Promise<Result> {
  const abandoned = Promise.withResolvers<never>();
  let timer: NodeJS.Timeout | undefined;
  const abandon = (why: string) => abandoned.reject(new HookAbandoned(`${name} was not waited for: it went on ${why}`));
  const onLost = (): void => abandon("when the lease was lost");
  const onStop = (): void => {
    timer ??= realTime.setTimeout(() => abandon(`for ${graceMs} ms after its signal`), graceMs);
  };
  const listen = (on: AbortSignal | undefined, listener: () => void): void => {
    if (on?.aborted) listener();
    else on?.addEventListener("abort", listener, { once: true });
  };
  try {
    const result = Promise.resolve(call());
    listen(signal, onStop);
    listen(lost, onLost);
    return await Promise.race([result, abandoned.promise]);
  } finally {
    realTime.clearTimeout(timer);
    signal.removeEventListener("abort", onStop);
    lost?.removeEventListener("abort", onLost);
  }
}
