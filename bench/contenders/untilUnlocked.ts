// The way in which contenders with several connections go on when the write lock was not to be had.

/** Repeats a call that could not get the write lock within the busy timeout. */
export function untilUnlocked<Result>(run: () => Result): Result {
  for (;;) {
    try {
      return run();
    } catch (error) {
      if ((error as { code?: string }).code !== "SQLITE_BUSY") throw error;
    }
  }
}
