// The address of a store: a SQLite file, or a PostgreSQL database.
import { StoreError } from "./errors.ts";

export const defaultUrl = "sqlite:.artifacts/data/metadata.db";

/** The parsed address of a store. */
export type Place =
  | { readonly engine: "sqlite"; readonly path: string }
  | { readonly engine: "postgres"; readonly url: string };

/**
 * Parses the URL of a store. The text after `sqlite:` is a plain path: the escapes and parameters of
 * https://www.sqlite.org/uri.html have no meaning in it.
 */
export function parsePlace(url: string): Place {
  if (/^postgres(?:ql)?:\/\//.test(url) && URL.canParse(url)) return { engine: "postgres", url };
  // sqlite:///PATH is the same as sqlite:/PATH.
  const path = url.startsWith("sqlite:") ? url.slice("sqlite:".length).replace(/^\/\/(?=\/)/, "") : "";
  if (path !== "" && !path.includes("\u0000")) return { engine: "sqlite", path };
  throw new StoreError(
    "invalid_input",
    `url: expected sqlite:PATH, such as ${defaultUrl}, or postgres://USER:PASSWORD@HOST:PORT/DATABASE`,
  );
}

/** Returns a URL that is safe to print: its password, and parameters that may hold a secret, become `***`. */
export function redactUrl(url: string): string {
  if (parsePlace(url).engine === "sqlite") return url;
  const redacted = new URL(url);
  if (redacted.password !== "") redacted.password = "***";
  for (const name of redacted.searchParams.keys())
    if (/pass|secret|token|key/i.test(name)) redacted.searchParams.set(name, "***");
  return redacted.href;
}
