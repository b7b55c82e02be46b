// Waiting for what the store says of itself.

/** Asks again and again until it is so. Fails after 20 s, so that a test that waits in vain ends. */
export async function until(isSo: () => Promise<boolean>): Promise<void> {
  const overAt = performance.now() + 20_000;
  while (!(await isSo())) if (performance.now() > overAt) throw new Error(`waited in vain until ${isSo.toString()}`);
}
