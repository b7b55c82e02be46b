// The visibility of the tab: what it follows ends a moment after it is hidden, and goes on when it is shown.

/** The time for which a hidden tab keeps its streams, in milliseconds. */
const hiddenMs = 10_000;

/** Resolves when the tab is visible, or when the signal fires. */
export function untilVisible(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
    look();
  });
}

/** Returns a signal that fires with another one, and when the tab has been hidden for a while. Call `end` after its use. */
export function whileVisible(signal: AbortSignal): { readonly signal: AbortSignal; end(): void } {
  const hidden = new AbortController();
  let timer = 0;
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = window.setTimeout(() => hidden.abort(), hiddenMs);
  };
  document.addEventListener("visibilitychange", look);
  return {
    signal: AbortSignal.any([signal, hidden.signal]),
    end() {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    },
  };
}
