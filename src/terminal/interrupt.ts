// Ctrl-C, and the other signals that ask a process to end, as an AbortSignal.
const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Stops listening: from now on these signals end the process. */
  [Symbol.dispose](): void;
}

/** Catches the signals. The command that listens must then end by itself, and soon. */
export function listenForInterrupt(): Interrupt {
  const aborter = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => aborter.abort(name);
  for (const name of names) process.on(name, onSignal);
  return {
    signal: aborter.signal,
    [Symbol.dispose]() {
      for (const name of names) process.off(name, onSignal);
    },
  };
}

/** Stands in for `listenForInterrupt` where no signal is to be caught. */
export function neverInterrupted(): Interrupt {
  return { signal: new AbortController().signal, [Symbol.dispose]() {} };
}
