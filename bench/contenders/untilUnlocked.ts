// The way in which contenders with several connections go on when the write lock was not to be had.

/** Repeats a call that could not get the write lock within the busy timeout. */
export async function untilUnlocked<Result>(run: () => Result | Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await run();
    } catch (error) {
      if (!isLocked(error)) throw error;
    }
  }
}

/** Some drivers pass on only the message of SQLITE_BUSY. */
function isLocked(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  return code === "SQLITE_BUSY" || /database is locked/.test(message ?? "");
}
