// A short visit to a store, beside the server that may have it open (D-069).
import { userInfo } from "node:os";
import type { CallOptions } from "../client.ts";
import { isServerUrl, parsePlace, tokenIn } from "../place.ts";
import { present } from "../present.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { CliError } from "../terminal/exit.ts";
import type { CommandLine } from "./commandLine.ts";

type VisitorOptions = CallOptions & { readonly signal: AbortSignal };

/** Opens the store for as long as the work takes. The first Ctrl-C aborts its calls. */
export async function visit<Result>(
  cli: CommandLine,
  { url }: { readonly url: string },
  work: (store: OwnedStore, options: VisitorOptions) => Promise<Result>,
  { create = false }: { readonly create?: boolean } = {},
): Promise<Result> {
  if (!isServerUrl(url) && isMemory(url))
    throw new CliError("usage", "url: a database in memory is new each time: name a file, such as sqlite:metadata.db");
  const interrupt = cli.listenForInterrupt();
  // Some calls ignore the signal, so a second Ctrl-C ends the process at once.
  interrupt.signal.addEventListener("abort", () => interrupt[Symbol.dispose]());
  try {
    const { openStore, openVisitor } = await import("../store.ts");
    const store = isServerUrl(url)
      ? await openStore({ url, ...present({ token: tokenIn(cli.env) }) })
      : await openVisitor({ url, migrate: create ? "create" : "never" });
    try {
      return await work(store, { actor: `cli:${userName()}`, signal: interrupt.signal });
    } finally {
      await store.close();
    }
  } catch (error) {
    throw interrupt.signal.aborted ? new CliError("interrupted", "interrupted") : error;
  } finally {
    interrupt[Symbol.dispose]();
  }
}

function isMemory(url: string): boolean {
  const place = parsePlace(url);
  return place.engine === "sqlite" && place.path === ":memory:";
}

/** Returns the name that audit rows show. Some containers run as a user without one. */
function userName(): string {
  try {
    return userInfo().username.slice(0, 100);
  } catch {
    return String(process.getuid?.() ?? "unknown");
  }
}
