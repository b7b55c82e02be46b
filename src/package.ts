// Where the package's own files lie, whether it runs from its sources (.ts) or as built (dist/*.js).
import { readFileSync } from "node:fs";

const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
const sourceRoot = new URL("../", import.meta.url);

export const packageRoot = extension === ".ts" ? sourceRoot : new URL("../", sourceRoot);

/** A thread's entry point. */
export function workerUrl(name: "backup" | "database" | "runner"): URL {
  return new URL(`workers/${name}${extension}`, sourceRoot);
}

export const packageVersion = (JSON.parse(readFileSync(new URL("package.json", packageRoot), "utf8")) as { version: string }).version;
