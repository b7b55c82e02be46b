// Locates the package's own files, and reads its version and the Node.js that it needs, whether it runs from its
// sources (.ts) or from its build (dist/*.js).
import { readFileSync } from "node:fs";
import { StoreError } from "./errors.ts";

const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
const sourceRoot = new URL("../", import.meta.url);

export const packageRoot = extension === ".ts" ? sourceRoot : new URL("../", sourceRoot);

/** Returns the URL of a thread's entry point. */
export function workerUrl(name: "backup" | "database" | "reader" | "readProcess" | "runner"): URL {
  return new URL(`workers/${name}${extension}`, sourceRoot);
}

const { version, engines } = JSON.parse(readFileSync(new URL("package.json", packageRoot), "utf8")) as {
  version: string;
  engines: { node: string };
};

export const packageVersion = version;

/** Fails with `incompatible` on an old Node.js, whose own error would only name a feature that it lacks. */
export function checkNodeVersion(actual = process.versions.node): void {
  const needed = engines.node.replace(/^\D+/, "");
  const [major = 0, minor = 0] = actual.split(".").map(Number);
  const [majorMin = 0, minorMin = 0] = needed.split(".").map(Number);
  if (major > majorMin || (major === majorMin && minor >= minorMin)) return;
  throw new StoreError(
    "incompatible",
    `debug-server-db needs Node ${needed} or newer, and this is Node ${actual}: install a newer Node and run it again`,
  );
}
