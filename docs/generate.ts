// Writes the generated parts of the documents, and the types of the tables: `npm run docs`. With --check it only reports
// files that are out of date.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { renderAppend } from "../bench/append.ts";
import { renderCells, renderHeadline } from "../bench/cells/render.ts";
import { plotGrowth, renderGrowth } from "../bench/growth/render.ts";
import { renderLadder } from "../bench/ladder.ts";
import { renderPostgres } from "../bench/postgres.ts";
import { renderRunner } from "../bench/programs.ts";
import { renderReads } from "../bench/reads.ts";
import { renderRemote } from "../bench/remoteCalls.ts";
import { renderUpkeep } from "../bench/upkeep.ts";
import { errorCodes } from "../src/errors.ts";
import { metricFamilies } from "../src/http/metrics.ts";
import { checks } from "../src/operations/fsck/checks.ts";
import { fileChecks } from "../src/sqlite/deepCheck.ts";
import { renderFaults, renderScopes } from "./access.ts";
import { renderCli } from "./cli.ts";
import { renderDatabase } from "./kysely.ts";
import { renderOpenApi } from "./openapi.ts";
import { renderErrors, renderOperations } from "./operations.ts";

const root = new URL("../", import.meta.url);

/** Formats a heading for each error code, so that a link can point to it, with its meaning and what to do. */
function errorSections(): string {
  const sections = Object.entries(errorCodes).map(([code, { means, mend, retryable, ...error }]) => {
    const exception = "unless" in error ? `, unless ${error.unless}` : "";
    const text = `${sentence(means)} **What to do:** ${mend}.${retryable ? ` The error is retryable${exception}.` : ""}`;
    return `### ${code}\n\n${wrap(text.replaceAll(/\bdetails\.\w+|\boutcome\b/g, "`$&`"))}`;
  });
  return `\n${sections.join("\n\n")}\n`;
}

function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
}

/** Breaks lines at 120 characters. */
function wrap(text: string): string {
  return text.replaceAll(/(.{1,120})(?: |$)/g, "$1\n").trimEnd();
}

/** Renders the checks of a store, with what becomes of their findings. */
function checkTable(): string {
  const rows = checks.map(({ name, says, remedy, isDeep = false }) => ({ name, says, remedy, isDeep }));
  const files = Object.values(fileChecks).map((texts) => ({ ...texts, isDeep: true }));
  return [
    "| check | rule | when it is broken |",
    "| --- | --- | --- |",
    ...[...rows, ...files].map(
      ({ name, says, remedy, isDeep }) => `| \`${name}\`${isDeep ? " (`--deep`)" : ""} | ${says} | ${remedy} |`,
    ),
  ].join("\n");
}

/** Renders the metrics, with their labels and what they measure. */
function metricTable(): string {
  return [
    "| metric | type | labels | of | meaning |",
    "| --- | --- | --- | --- | --- |",
    ...metricFamilies.map(
      ({ name, type, labels, of, help }) =>
        `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(", ")} | ${of} | ${help} |`,
    ),
  ].join("\n");
}

function readResult(name: string): never {
  return JSON.parse(readFileSync(new URL(`bench/results/${name}.json`, root), "utf8")) as never;
}

/** The generated parts of each file; each part stands between `<!-- name -->` and `<!-- /name -->`. */
const generated: Readonly<Record<string, Readonly<Record<string, () => string>>>> = {
  "README.md": { headline: () => wrap(renderHeadline(readResult("cells"))) },
  "docs/guide/errors.md": { errors: errorSections },
  "docs/guide/fsck.md": { checks: checkTable },
  "docs/guide/http.md": { faults: renderFaults },
  "docs/guide/metrics.md": { metrics: metricTable },
  "docs/guide/tokens.md": { scopes: renderScopes },
  "docs/cli.md": { cli: renderCli },
  "docs/operations.md": { errors: renderErrors, operations: renderOperations },
  "docs/scaling.md": { postgres: () => renderPostgres(readResult("postgres")) },
  "docs/benchmarks.md": {
    cells: () => renderCells(readResult("cells")),
    append: () => renderAppend(readResult("append")),
    ladder: () => renderLadder(readResult("ladder")),
    growth: () => renderGrowth(readResult("growth")),
    runner: () => renderRunner(readResult("runner")),
    reads: () => renderReads(readResult("reads")),
    remote: () => renderRemote(readResult("remote")),
    upkeep: () => renderUpkeep(readResult("upkeep")),
  },
};

/** The files that are generated as a whole. */
const whole: Readonly<Record<string, () => string>> = {
  "src/kysely/database.ts": renderDatabase,
  "docs/openapi.json": renderOpenApi,
  "docs/growth.svg": () => plotGrowth(readResult("growth")),
};

function fill(text: string, name: string, content: string): string {
  return text.replace(
    new RegExp(`(<!-- ${name} -->\n).*?(<!-- /${name} -->)`, "s"),
    (_, start, end) => `${start}${content}\n${end}`,
  );
}

for (const [file, parts] of Object.entries(generated)) {
  const before = readFileSync(new URL(file, root), "utf8");
  put(
    file,
    before,
    Object.entries(parts).reduce((text, [name, render]) => fill(text, name, render()), before),
  );
}
for (const [file, draw] of Object.entries(whole)) {
  const url = new URL(file, root);
  put(file, existsSync(url) ? readFileSync(url, "utf8") : "", draw());
}

/** Writes a file that has changed, or reports it. */
function put(file: string, before: string, after: string): void {
  if (after === before) return;
  if (process.argv.includes("--check")) {
    console.error(`${file} is not up to date: run npm run docs`);
    process.exitCode = 1;
  } else writeFileSync(new URL(file, root), after);
}
