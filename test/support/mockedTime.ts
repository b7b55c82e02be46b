// Gives a test fake timers that the package uses too. The package itself takes time from functions that fake timers do
// not reach (src/realTime.ts), so these are replaced as well.
import type { MockTracker } from "node:test";
import { realTime } from "../../src/realTime.ts";

/** Installs fake timers and a fake date until the end of the test. */
export function mockTime(
  mock: MockTracker,
  options: { readonly apis: ("setTimeout" | "Date")[]; readonly now?: number },
): void {
  mock.timers.enable(options);
  if (options.apis.includes("Date")) mock.method(realTime, "now", () => Date.now());
  if (!options.apis.includes("setTimeout")) return;
  mock.method(realTime, "setTimeout", (...args: Parameters<typeof setTimeout>) => setTimeout(...args));
  mock.method(realTime, "clearTimeout", (timer: NodeJS.Timeout) => clearTimeout(timer));
}
