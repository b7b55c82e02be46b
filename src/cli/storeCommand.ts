// What commands on a store have in common: options, a short visit to the store (D-069), and where data and messages go.

import { userInfo } from "node:os";
import { type Command, Option } from "commander";
import type { CallOptions } from "../client.ts";
import { parsePlace } from "../place.ts";
import { openStore } from "../store.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { CliError, exitCodeHelp } from "../terminal/exit.ts";
import { listenForInterrupt } from "../terminal/interrupt.ts";
import { harmless, harmlessJson } from "../terminal/table.ts";
import { type PageFlags, withPages } from "./pages.ts";
import { urlOption } from "./url.ts";

export interface StoreFlags {
  readonly url: string;
  readonly json?: true;
  readonly quiet?: true;
}

/** A command that only has others below it. */
export function commandGroup(
  program: Command,
  name: string,
  description: string,
  examples: readonly string[],
): Command {
  return program.command(name).description(description).addHelpText("after", helpAfter(examples));
}

export function storeCommand(
  parent: Command,
  name: string,
  description: string,
  examples: readonly string[],
  note?: string,
): Command {
  return parent
    .command(name)
    .description(description)
    .addOption(urlOption())
    .option("--json", "print JSON, one object a line")
    .option("-q, --quiet", "say nothing on stderr but errors")
    .addHelpText("after", helpAfter(examples, note));
}

export type ListFlags = StoreFlags & PageFlags;

export function listCommand(group: Command, what: string, examples: readonly string[]): Command {
  return withPages(storeCommand(group, "list", `Lists ${what}, the oldest first.`, examples));
}

export function ofState(states: readonly string[]): Option {
  return new Option("--state <state>", "of this state only").choices(states);
}

export function reasonOption(command: Command): Command {
  return command.option("--reason <text>", "why; it goes into the audit log");
}

/** What was given of these flags. */
export function given<Flags extends object, Name extends keyof Flags>(
  flags: Flags,
  ...names: readonly Name[]
): Partial<Pick<Flags, Name>> {
  return Object.fromEntries(
    names.filter((name) => flags[name] !== undefined).map((name) => [name, flags[name]]),
  ) as Partial<Pick<Flags, Name>>;
}

export function helpAfter(examples: readonly string[], note?: string): string {
  const lines = examples.map((example) => `  debug-server-db ${example}\n`).join("");
  return `\nExamples:\n${lines}${note === undefined ? "" : `\n${note}\n`}${exitCodeHelp}`;
}

/** Opens the store beside whoever serves it, for as long as the work takes. Ctrl-C aborts its calls. */
export async function visit<Result>(
  { url }: StoreFlags,
  work: (store: OwnedStore, options: CallOptions & { readonly signal: AbortSignal }) => Promise<Result>,
  { create = false }: { readonly create?: boolean } = {},
): Promise<Result> {
  const place = parsePlace(url);
  if (place.engine === "sqlite" && place.path === ":memory:")
    throw new CliError("usage", "url: a database in memory is new each time: name a file, such as sqlite:metadata.db");
  const interrupt = listenForInterrupt();
  // Not every call hears it: a second Ctrl-C ends the process at once.
  interrupt.signal.addEventListener("abort", () => interrupt[Symbol.dispose]());
  try {
    const store = await openStore({ url, migrate: create ? "create" : "never", role: "visitor" });
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

/** For the audit rows. Some containers run as a user without a name. */
function userName(): string {
  try {
    return userInfo().username.slice(0, 100);
  } catch {
    return String(process.getuid?.() ?? "unknown");
  }
}

/** A message, which is no data. */
export function say({ quiet }: Pick<StoreFlags, "quiet">, text: string): void {
  if (!quiet) process.stderr.write(`${harmless(text)}\n`);
}

/** One line of JSON. What superjson restores and JSON has no form for is written as the nearest that it has. */
export function toJsonLine(value: unknown): string {
  return `${harmlessJson(
    JSON.stringify(value, (_, part) => {
      if (typeof part === "bigint") return String(part);
      if (part instanceof Map) return Object.fromEntries(part);
      return part instanceof Set ? [...part] : part;
    }),
  )}\n`;
}
