// Masks what may be secret, on the caller's thread before it is sent: variables, environments, and assignments within
// text.
import { types } from "node:util";
import { isPlainObject } from "./plainObject.ts";

export const masked = "***";

/** The names whose values are masked by default. `*` matches any text; case does not matter. */
export const defaultSecretNames: readonly string[] = [
  "*passw*",
  "*passphrase*",
  "*secret*",
  "*token*",
  "*credential*",
  "*api*key*",
  "*access*key*",
  "*private*key*",
  "*signing*key*",
  "*encryption*key*",
  "*authorization*",
  "*cookie*",
];

/** The names of environments. All their values are masked, because any of them may be secret (D-074). */
const environment = /^(?:.*\.)?(?:env|envp|environ|environment)$/i;

/**
 * The left side of an assignment within text: `name =`, `name: `, `"name":`, `--name=`, `name ===`. A search begins only
 * where a word does, so that a long word takes no quadratic time.
 */
const assigned = /(?<![\w$.-])([\w$.-]+)["'`]?\s*(?:!?={1,3}>?|:)\s*/g;
const value =
  /(?:(?:bearer|basic|digest)\s+)?(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|`(?:[^`\\]|\\.)*`?|[^\s"'`,;&(){}[\]]+)/iy;
/** An option with its value: `--name value`. */
const option = /(?<![\w-])(--?[A-Za-z][\w-]*)(\s+)([^\s-]\S*)/g;

/** The password in a URL: https://www.rfc-editor.org/rfc/rfc3986#section-3.2.1. The length of a scheme is bounded for the same reason. */
const userinfo = /(\b[a-z][a-z0-9+.-]{0,30}:\/\/[^\s:/@]*:)[^\s/]+@/gi;

/**
 * Masks what gives access in a URL, for a terminal or a log: a password, on HTTP also a name without one, which is then
 * a token, and the query and the fragment, which hold the signature of a presigned URL. A password may contain `/` and
 * `@`, as git accepts it, so it reaches to the last `@`: what is masked may include a part of the place.
 */
export function maskUrl(url: string): string {
  const [, scheme = "", rest = ""] = /^([a-z][a-z0-9+.-]*:\/\/)(.*)$/is.exec(url) ?? [];
  if (scheme === "") return maskUrls(maskingOf(defaultSecretNames).text(url));
  const authority = rest.slice(0, rest.search(/[/?#]|$/));
  const end = authority.lastIndexOf("@");
  const hasPassword = authority.slice(0, Math.max(end, 0)).includes(":");
  // A colon after the name of a host begins a port, or else a password that contains a separator.
  const isPlace = /^(?:\[.*\]|[^:]*)(?::\d*)?$/.test(authority.slice(end + 1));
  const at = isPlace && !hasPassword ? end : rest.lastIndexOf("@");
  const user = rest.slice(0, Math.max(at, 0));
  const name = user.includes(":") ? user.slice(0, user.indexOf(":") + 1) : "";
  const isSecret = user !== "" && (name !== "" || /https?:\/\/$/i.test(scheme));
  return `${scheme}${isSecret ? `${name}${masked}` : user}${maskTail(rest.slice(user.length))}`;
}

/**
 * Masks the arguments of a program, for a terminal or a log: options and assignments of secrets, and URLs, also within
 * an argument, as in `--index=URL` and in the text of a script.
 */
export function maskArguments(argv: readonly string[]): readonly string[] {
  return (maskingOf(defaultSecretNames).data(argv) as readonly string[]).map(maskUrls);
}

/** Masks the URLs within text. The length of a scheme is bounded, so that a long text takes no quadratic time. */
function maskUrls(text: string): string {
  return text.replace(/[a-z][a-z0-9+.-]{0,30}:\/\/[^\s"'`<>]+/gi, maskUrl);
}

/** Masks the query and the fragment of a URL. */
function maskTail(url: string): string {
  return url.replace(/([?#]).+$/s, `$1${masked}`);
}

export interface Masking {
  isSecret(name: string): boolean;
  isEnvironment(name: string): boolean;
  text(text: string): string;
  /** Masks plain data: values under secret names, values in environments, and assignments in strings. */
  data(value: unknown): unknown;
}

let last: { readonly key: string; readonly masking: Masking } | undefined;

/** Returns the masking for a list of names. The last one is cached, because callers mostly use the same list. */
export function maskingOf(names: readonly string[]): Masking {
  const key = names.join("\n");
  if (last?.key !== key) last = { key, masking: createMasking(names) };
  return last.masking;
}

function createMasking(names: readonly string[]): Masking {
  const patterns = names.map((name) => name.toLowerCase().split("*"));
  const known = new Map<string, boolean>();
  const isSecret = (name: string): boolean => {
    const cached = known.get(name);
    if (cached !== undefined) return cached;
    const lower = name.toLowerCase();
    const secret = patterns.some((parts) => matches(parts, lower));
    if (known.size < 10_000) known.set(name, secret);
    return secret;
  };
  const isEnvironment = (name: string): boolean => environment.test(name);
  /** Masks assignments. A value that is not masked is searched too, because it may contain an assignment itself. */
  const assignments = (whole: string): string => {
    let [shown, from] = ["", 0];
    assigned.lastIndex = 0;
    for (let found = assigned.exec(whole); found !== null; found = assigned.exec(whole)) {
      if (!isSecret(found[1] as string)) continue;
      value.lastIndex = assigned.lastIndex;
      if (!value.test(whole)) continue;
      shown += `${whole.slice(from, assigned.lastIndex)}${masked}`;
      from = assigned.lastIndex = value.lastIndex;
    }
    return shown + whole.slice(from);
  };
  const options = (whole: string, name: string, space: string) => (isSecret(name) ? `${name}${space}${masked}` : whole);
  const text = (whole: string): string => assignments(whole.replace(userinfo, `$1${masked}@`)).replace(option, options);
  /** Checks whether an argument is the option of a secret, whose value follows it, as in `["--token", "value"]`. */
  const isSecretOption = (argument: unknown): boolean =>
    typeof argument === "string" && /^--?[A-Za-z][\w-]*$/.test(argument) && isSecret(argument);
  const field = (name: string, value: unknown): unknown =>
    isSecret(name) ? masked : isEnvironment(name) ? blank(value) : data(value);
  const data = (value: unknown): unknown => {
    if (typeof value === "string") return text(value);
    if (Array.isArray(value))
      return value.map((item, index) => (isSecretOption(value[index - 1]) ? masked : data(item)));
    if (types.isSet(value)) return new Set([...value].map(data));
    if (types.isMap(value))
      return new Map(
        [...value].map(([name, child]) => [data(name), typeof name === "string" ? field(name, child) : data(child)]),
      );
    if (!isPlainObject(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([name, child]) => [name, field(name, child)]));
  };
  return { isSecret, isEnvironment, text, data };
}

/**
 * Masks the values of an environment and keeps its names, so that a reader sees which variables were set. The
 * environment may also be a list of `NAME=value`.
 */
function blank(value: unknown): unknown {
  if (value === null || value === undefined || typeof value === "boolean") return value;
  if (Array.isArray(value))
    return value.map((item) =>
      typeof item === "string" && item.includes("=") ? `${item.slice(0, item.indexOf("="))}=${masked}` : masked,
    );
  if (types.isMap(value)) return new Map([...value.keys()].map((name) => [name, masked]));
  return isPlainObject(value) ? Object.fromEntries(Object.keys(value).map((name) => [name, masked])) : masked;
}

/**
 * Matches a name against the parts of a pattern, greedily from the left: each part is searched for after the one before
 * it.
 */
function matches(parts: readonly string[], name: string): boolean {
  const [head = "", ...rest] = parts;
  if (rest.length === 0) return name === head;
  if (!name.startsWith(head)) return false;
  const tail = rest.pop() as string;
  let at = head.length;
  for (const part of rest) {
    const found = name.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return name.length - tail.length >= at && name.endsWith(tail);
}
