// Compares the paths of source files that clients and adapters write: one file may be written in several ways.

/**
 * Returns the key under which two ways to write the path of a source file are the same: a file URL and its path, and a
 * Windows path with either case of its drive and either slash. (Debug Adapter Protocol, section Types, Source; and the
 * argument `pathFormat` of section Requests, Initialize, by which a path may be a URI.)
 */
export function sourceKey(path: string): string {
  const plain = /^file:\/\//i.test(path) ? pathOfUrl(path) : path;
  if (plain.startsWith("\\\\")) return plain.replaceAll("\\", "/");
  const [, drive, rest] = /^([a-z]):([\\/].*)$/is.exec(plain) ?? [];
  return drive === undefined || rest === undefined ? plain : `${drive.toLowerCase()}:${rest.replaceAll("\\", "/")}`;
}

/** Returns the path of a file URL, and the text itself if it only looks like one. */
function pathOfUrl(text: string): string {
  try {
    const { hostname, pathname } = new URL(text);
    const path = decodeURIComponent(pathname);
    if (hostname !== "" && hostname !== "localhost") return `//${hostname}${path}`;
    return /^\/[a-z]:/i.test(path) ? path.slice(1) : path;
  } catch {
    return text;
  }
}
