// Ctrl-C, and the other signals that ask a process to end, as an AbortSignal. Whoever listens ends the process, in order and in time.
const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface Interrupt {
  readonly signal: AbortSignal;
  /** From now on these signals end the process again. */
  [Symbol.dispose](): void;
}

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
