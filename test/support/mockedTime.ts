// Gives a test fake timers that the package uses too. The package itself takes time from functions that fake timers do
// not reach (src/realTime.ts), so these are replaced as well.
import type { MockTracker } from "node:test";
import { realTime } from "../../src/realTime.ts";

/**
 * Installs fake timers and a fake date until the end of the test. With fake timers, the elapsed time moves by their
 * ticks too.
 */
export function mockTime(
  mock: MockTracker,
  { apis, ...options }: { readonly apis: ("setTimeout" | "Date")[]; readonly now?: number },
): void {
  // Whole, because the sum of two fractions may differ from the tick that is to reach it.
  const startedMs = Math.ceil(realTime.elapsed());
  mock.timers.enable({ ...options, apis: [...new Set([...apis, "Date" as const])] });
  const mockedStartMs = Date.now();
  if (apis.includes("Date")) mock.method(realTime, "now", () => Date.now());
  if (!apis.includes("setTimeout")) return;
  mock.method(realTime, "elapsed", () => startedMs + Date.now() - mockedStartMs);
  mock.method(realTime, "setTimeout", (...args: Parameters<typeof setTimeout>) => setTimeout(...args));
  mock.method(realTime, "clearTimeout", (timer: NodeJS.Timeout) => clearTimeout(timer));
}
