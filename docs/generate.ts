// Writes what the documents say about the code from the code: `npm run docs`. With --check it only says whether they are up to date.
import { readFileSync, writeFileSync } from "node:fs";
import { errorCodes } from "../src/errors.ts";

function errorTable(): string {
  const rows = Object.entries(errorCodes).map(([code, { means, mend, retryable }]) => `| \`${code}\` | ${means} | ${mend} | ${retryable ? "yes" : ""} |`);
  return ["| code | means | what to do | retryable |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

/** Replaces what stands between `<!-- name -->` and `<!-- /name -->`. */
function fill(text: string, name: string, content: string): string {
  return text.replace(new RegExp(`(<!-- ${name} -->\n).*?(<!-- /${name} -->)`, "s"), (_, start, end) => `${start}${content}\n${end}`);
}

const readme = new URL("../README.md", import.meta.url);
const before = readFileSync(readme, "utf8");
const after = fill(before, "errors", errorTable());
if (process.argv.includes("--check")) {
  if (after !== before) {
    console.error("README.md is not up to date: run npm run docs");
    process.exitCode = 1;
  }
} else writeFileSync(readme, after);
