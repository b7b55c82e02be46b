// The files of the page, as they are sent: with a tag, compressed, and under a policy that lets nothing else run.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { extname } from "node:path";
import { gzipSync } from "node:zlib";

const folder = new URL("../page/", import.meta.url);

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

const headers = {
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; "),
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  // A browser keeps the files, and asks each time whether they have changed.
  "cache-control": "no-cache",
  vary: "accept-encoding",
};

export interface PageFile {
  readonly type: string;
  readonly etag: string;
  readonly bytes: Buffer<ArrayBuffer>;
  readonly gzip: Buffer<ArrayBuffer>;
}

let loaded: ReadonlyMap<string, PageFile> | undefined;

/** Returns the files of the page by their names, and reads them once. */
export function pageFiles(): ReadonlyMap<string, PageFile> {
  loaded ??= new Map(
    readdirSync(folder)
      .filter((name) => name.endsWith(".ts") || Object.hasOwn(types, extname(name)))
      .map((name) => [name.replace(/\.ts$/, ".js"), fileOf(name)]),
  );
  return loaded;
}

function fileOf(name: string): PageFile {
  const text = readFileSync(new URL(name, folder), "utf8");
  const bytes = Buffer.from(name.endsWith(".ts") ? scriptOf(text) : text);
  const etag = `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"`;
  return { type: types[extname(name)] ?? (types[".js"] as string), etag, bytes, gzip: gzipSync(bytes, { level: 9 }) };
}

/** Returns a source file as a browser runs it. A build has the scripts themselves. */
function scriptOf(source: string): string {
  const { emitWarning } = process;
  // Node calls the function experimental, once, on stderr.
  process.emitWarning = () => undefined;
  try {
    return stripTypeScriptTypes(source).replace(/(\bfrom ")(\.\/\w+)\.ts"/g, '$1$2.js"');
  } finally {
    process.emitWarning = emitWarning;
  }
}

/** Answers a request for a file of the page. Returns undefined when there is none of this name. */
export function pageResponse(request: Request, name: string): Response | undefined {
  const file = pageFiles().get(name);
  if (file === undefined) return undefined;
  const isZipped = /\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))/.test(request.headers.get("accept-encoding") ?? "");
  // A tag names one form of the bytes.
  const etag = isZipped ? file.etag.replace(/"$/, '-gz"') : file.etag;
  const tags = (request.headers.get("if-none-match") ?? "").split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  if (tags.includes(etag) || tags.includes("*"))
    return new Response(null, { status: 304, headers: { ...headers, etag } });
  return new Response(isZipped ? file.gzip : file.bytes, {
    headers: {
      ...headers,
      etag,
      "content-type": file.type,
      ...(isZipped ? { "content-encoding": "gzip" } : {}),
    },
  });
}
