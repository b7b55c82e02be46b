// The address of a store: a SQLite file, or a PostgreSQL database. All of the package reads addresses here.
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { StoreError } from "./errors.ts";
import { type PostgresAddress, readPostgresUrl, writePostgresUrl } from "./postgresUrl.ts";

export const defaultUrl = "sqlite:.artifacts/data/metadata.db";

/** The environment variable that names the store where no option does. */
export const urlVariable = "DEBUG_SERVER_DB_URL";

/** The environment variable with the token for a store that another process serves, where no option has it. */
export const tokenVariable = "DEBUG_SERVER_DB_TOKEN";

/** The environment variable that names the folder of the log archive where no option does. */
export const logArchiveVariable = "DEBUG_SERVER_DB_LOG_ARCHIVE";

/** The parsed address of a store. */
export type Place =
  | { readonly engine: "sqlite"; readonly path: string }
  | { readonly engine: "postgres"; readonly url: string };

export interface ChosenUrl {
  readonly url: string;
  readonly from: "option" | "environment" | "default";
  /** The name of the option or variable, for messages about it. */
  readonly name: string;
}

/** Chooses the URL: the option, or else the variable, or else the default. A variable that is blank is not set. */
export function chooseUrl(option: string | undefined, env: NodeJS.ProcessEnv): ChosenUrl {
  if (option !== undefined) return { url: option, from: "option", name: "url" };
  const variable = env[urlVariable] ?? "";
  return trimmed(variable) === ""
    ? { url: defaultUrl, from: "default", name: "url" }
    : { url: variable, from: "environment", name: urlVariable };
}

/** Checks whether a URL names the server of a store, instead of a database. */
export function isServerUrl(url: string): boolean {
  return /^(?:https?:\/\/|unix:)/.test(trimmed(url));
}

/** Returns the token in the environment; a variable that is blank is not set. */
export function tokenIn(env: NodeJS.ProcessEnv): string | undefined {
  const token = trimmed(env[tokenVariable] ?? "");
  return token === "" ? undefined : token;
}

/**
 * Parses the URL of a store. The text after `sqlite:` is a plain path: the escapes and parameters of
 * https://www.sqlite.org/uri.html have no meaning in it, and a leading `~/` stands for the home directory. Blanks and
 * line ends around the URL are dropped, as they come from files of variables with CRLF and from mounted secrets. What
 * would silently name another file than the one that was meant is refused (D-092). Messages never repeat the URL,
 * because it may hold a password.
 *
 * Fails    invalid_input, with a message that begins with `name`
 */
export function parsePlace(url: string, name = "url"): Place {
  const text = trimmed(url);
  const fault = faultOf(text);
  if (fault !== undefined) throw new StoreError("invalid_input", `${name}: ${fault}`);
  if (isPostgres(text)) return { engine: "postgres", url: text };
  // sqlite:///PATH is the same as sqlite:/PATH.
  return { engine: "sqlite", path: expandHome(pathOf(text).replace(/^\/{2,}/, "/")) };
}

/** Replaces a leading `~/`, which a shell replaces only at the beginning of a word, with the home directory. */
export function expandHome(path: string): string {
  return /^~[/\\]/.test(path) ? join(homedir(), path.slice(2)) : path;
}

/**
 * Returns a URL that is safe to print. The password, and every parameter that is not known to be harmless, become
 * `***`.
 */
export function redactUrl(url: string): string {
  if (isServerUrl(url)) return trimmed(url).replace(/(?<=^https?:\/\/)[^/@]*@/, "***@");
  const place = parsePlace(url);
  if (place.engine === "sqlite") return `sqlite:${place.path}`;
  const address = addressOf(place.url);
  return writePostgresUrl({
    ...address,
    password: address.password === "" ? "" : "***",
    parameters: address.parameters.map(([name, value]) => [name, harmlessParameters.includes(name) ? value : "***"]),
  });
}

/** Returns the hosts and the database of a PostgreSQL URL that was parsed, for messages. */
export function shownAddress(url: string): string {
  return writePostgresUrl({ ...addressOf(url), user: "", password: "", parameters: [] });
}

function addressOf(url: string): PostgresAddress {
  return readPostgresUrl(url) as PostgresAddress;
}

/**
 * Returns a PostgreSQL URL for the programs of PostgreSQL, which a person may see: without the password, and with the
 * parameters that are known to be harmless, because they lead to the same server in the same way.
 */
export function toolUrl(url: string, database: (name: string) => string = (name) => name): string {
  const address = addressOf(url);
  return writePostgresUrl({
    ...address,
    password: "",
    database: database(address.database),
    parameters: address.parameters
      .filter(([name]) => harmlessParameters.includes(name))
      // A mode that only the driver knows.
      .map(([name, value]) => [name, name === "sslmode" && value === "no-verify" ? "require" : value]),
  });
}

/** The parameters that are printed: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS */
const harmlessParameters: readonly string[] = [
  "application_name",
  "client_encoding",
  "connect_timeout",
  "fallback_application_name",
  "keepalives",
  "sslcert",
  "sslkey",
  "sslmode",
  "sslnegotiation",
  "sslrootcert",
  "target_session_attrs",
];

/** Drops blanks, line ends and invisible characters, such as a byte order mark, from both ends. */
function trimmed(text: string): string {
  return text.replace(/^[\s\p{Cf}]+|[\s\p{Cf}]+$/gu, "");
}

function isPostgres(text: string): boolean {
  return /^postgres(?:ql)?:\/\//.test(text);
}

function pathOf(text: string): string {
  return text.slice("sqlite:".length);
}

/** Returns what is wrong with a URL, and what to write instead. */
function faultOf(text: string): string | undefined {
  if (text === "") return `it is empty: expected ${expected}`;
  if (/^["'`\u2018-\u201f]/.test(text)) return "it is in quotation marks: write it without them";
  if (/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u.test(text)) return "it contains a control character or a line end";
  if (isPostgres(text)) return postgresFault(text);
  if (isServerUrl(text))
    return "it names the server of a store, and this works on the database itself: do it where the server runs, with the URL of the database";
  return text.startsWith("sqlite:") ? pathFault(pathOf(text)) : `expected ${expected}`;
}

const expected = `sqlite:PATH, such as ${defaultUrl}, postgres://USER:PASSWORD@HOST:PORT/DATABASE, or the server of a store: http://HOST:PORT, https://HOST or unix:PATH`;

function pathFault(path: string): string | undefined {
  if (/^\/*$/.test(path)) return "sqlite: names no file: write its path after the colon, such as sqlite:metadata.db";
  if (/^\/\/[^/]/.test(path))
    return "after sqlite:// a host would follow, and a file has none: write sqlite:PATH for a path from the current folder, or sqlite:///PATH for one from the root";
  if (path.endsWith("/")) return "the path ends with a slash, so it names a folder: write the path of a file in it";
  if (/^\s/.test(path)) return "a blank follows sqlite: write the path right after the colon";
  if (/^(["'`]).*\1$/.test(path)) return "the path is in quotation marks: write it without them";
  if (/^\$(?:\w|\{)/.test(path))
    return "the path begins with the name of a variable, which only a shell replaces: write the path itself, or ./ before the name";
  if (/^~(?:$|[^/\\]+[/\\])/.test(path))
    return "only ~/ stands for a home directory, and a file must follow it: write the whole path, or ./ before the name";
  if (/^~[/\\]/.test(path) && !isAbsolute(homedir())) return "this user has no home directory: write the whole path";
  return undefined;
}

/**
 * The characters / ? # end the part with the password, and an @ after them shows that they were meant to belong to it.
 * The host, the path or the parameters would then hold the rest of the password, and would be printed.
 */
function postgresFault(text: string): string | undefined {
  const encoding = "in the user and the password, write / as %2F, ? as %3F, # as %23, @ as %40 and % as %25";
  // Some names of users hold an @.
  const rest = text.replace(/^[^/]*\/\/[^/?#]*/, "").replaceAll(/(?<=[?&])user=[^&]*/g, "");
  if (/[@#]/.test(rest)) return `it has an @ after / or ?, or a #: ${encoding}`;
  if (readPostgresUrl(text) !== undefined) return undefined;
  return `expected postgres://USER:PASSWORD@HOST:PORT/DATABASE; ${encoding}`;
}
