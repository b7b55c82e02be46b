// Parses the address of a store: a SQLite file or a PostgreSQL database.
import { StoreError } from "./errors.ts";

export const defaultUrl = "sqlite:.artifacts/data/metadata.db";

export type Place =
  | { readonly engine: "sqlite"; readonly path: string }
  | { readonly engine: "postgres"; readonly url: string };

/** https://www.sqlite.org/uri.html is not used: the rest of a sqlite: URL is the path, as it is. */
export function parsePlace(url: string): Place {
  if (/^postgres(?:ql)?:\/\//.test(url) && URL.canParse(url)) return { engine: "postgres", url };
  const path = url.startsWith("sqlite:") ? url.slice("sqlite:".length).replace(/^\/\/(?=\/)/, "") : "";
  if (path !== "" && !path.includes("\u0000")) return { engine: "sqlite", path };
  throw new StoreError(
    "invalid_input",
    `url: expected sqlite:PATH, such as ${defaultUrl}, or postgres://USER:PASSWORD@HOST:PORT/DATABASE`,
  );
}

/** What may be shown of a URL: without its password. */
export function redactUrl(url: string): string {
  if (parsePlace(url).engine === "sqlite") return url;
  const shown = new URL(url);
  if (shown.password !== "") shown.password = "***";
  for (const name of shown.searchParams.keys())
    if (/pass|secret|token|key/i.test(name)) shown.searchParams.set(name, "***");
  return shown.href;
}
