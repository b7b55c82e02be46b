// Reads connection URIs of PostgreSQL in all forms that its own programs take, among them several hosts and none:
// https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS

/** A server of a URI. An empty host is the default of the driver, and one that begins with `/` a folder of sockets. */
export interface PostgresHost {
  readonly host: string;
  /** Empty for the default port. */
  readonly port: string;
}

export interface PostgresAddress {
  readonly user: string;
  readonly password: string;
  /** The servers in the order in which they are tried; at least one. */
  readonly hosts: readonly PostgresHost[];
  /** Empty for the default of the driver. */
  readonly database: string;
  /** The parameters that are not named above. */
  readonly parameters: readonly (readonly [name: string, value: string])[];
}

/** The parameters that stand for a part of the URI, and come before it. */
const partNames: readonly string[] = ["user", "password", "host", "hostaddr", "port", "dbname"];

/** Returns the parts of a URI, decoded; or undefined when it is none, or when an escape in it is wrong. */
export function readPostgresUrl(text: string): PostgresAddress | undefined {
  const [, authority, path, query] = /^postgres(?:ql)?:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(text) ?? [];
  if (authority === undefined) return undefined;
  try {
    // As in other URIs, the last @ ends the user and the password.
    const at = authority.lastIndexOf("@");
    const [, user = "", password = ""] = /^([^:]*):?([\s\S]*)$/.exec(authority.slice(0, Math.max(0, at))) ?? [];
    const given = (query ?? "")
      .split("&")
      .filter((pair) => pair !== "")
      .map((pair) => [pair.split("=", 1)[0] as string, pair.slice(pair.indexOf("=") + 1)].map(decodeParameter));
    const part = (name: string): string | undefined => given.findLast(([key]) => key === name)?.[1];
    const named = authority.slice(at + 1);
    const listed = part("host") ?? part("hostaddr");
    const hosts = listed === undefined ? named.split(",").map(readHost) : withPorts(listed, part("port"));
    if (hosts.some((host) => host === undefined)) return undefined;
    const [{ port } = { port: "" }] = hosts as PostgresHost[];
    const alone = hosts.length === 1 && port === "" ? part("port") : undefined;
    return {
      user: part("user") ?? decodeURIComponent(user),
      password: part("password") ?? decodeURIComponent(password),
      hosts: alone === undefined ? (hosts as PostgresHost[]) : [{ ...(hosts[0] as PostgresHost), port: alone }],
      database: part("dbname") ?? decodeURIComponent(path ?? ""),
      parameters: given.filter(([name]) => !partNames.includes(name as string)) as [string, string][],
    };
  } catch {
    return undefined;
  }
}

function decodeParameter(text: string): string {
  return decodeURIComponent(text.replaceAll("+", "%20"));
}

function readHost(text: string): PostgresHost | undefined {
  const [, host, port = ""] = /^(\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(text) ?? [];
  return host === undefined ? undefined : { host: decodeURIComponent(host.replace(/^\[(.*)\]$/, "$1")), port };
}

/** Pairs hosts with ports: one port is that of all hosts. */
function withPorts(hosts: string, ports = ""): readonly PostgresHost[] {
  const each = ports.split(",");
  return hosts.split(",").map((host, index) => ({ host, port: (each.length === 1 ? each[0] : each[index]) ?? "" }));
}

/**
 * Writes a URI again, with these parts and every character encoded that could end one of them. Hosts that are folders
 * become parameters.
 */
export function writePostgresUrl({ user, password, hosts, database, parameters }: PostgresAddress): string {
  const isFolder = hosts.some(({ host }) => host.startsWith("/"));
  const [list, ports] = [hosts.map(({ host }) => host).join(","), hosts.map(({ port }) => port)];
  const pairs = [
    ...(isFolder ? [["host", list] as const] : []),
    ...(isFolder && ports.some((port) => port !== "") ? [["port", ports.join(",")] as const] : []),
    ...parameters,
  ].map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  const secret = password === "" ? "" : `:${encodeURIComponent(password)}`;
  const login = user === "" && password === "" ? "" : `${encodeURIComponent(user)}${secret}@`;
  const server = isFolder ? "" : hosts.map(writeHost).join(",");
  const name = database === "" && !isFolder ? "" : `/${encodeURIComponent(database)}`;
  return `postgres://${login}${server}${name}${pairs.length === 0 ? "" : `?${pairs.join("&")}`}`;
}

function writeHost({ host, port }: PostgresHost): string {
  return `${host.includes(":") ? `[${host}]` : encodeURIComponent(host)}${port === "" ? "" : `:${port}`}`;
}
