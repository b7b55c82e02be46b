// The layout holds: imports run one way, and each third-party package is known in one place.
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { it } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));

interface Source {
  readonly path: string;
  /** What it imports, types included: a relative path is resolved. */
  readonly imports: readonly string[];
  /** What it imports to run. */
  readonly values: readonly string[];
}

const sources: readonly Source[] = globSync("src/**/*.ts", { cwd: root }).map((path) => {
  const text = readFileSync(join(root, path), "utf8");
  const found = [...text.matchAll(/^(?:import|export)\s+(type\s)?(?:[^;'"]*?\sfrom\s+)?["']([^"']+)["'];/gm)];
  const resolve = (name: string) => (name.startsWith(".") ? relative(root, join(root, dirname(path), name)) : name);
  const imports = found.map(([, , name]) => resolve(name as string));
  // `import { type A }` names types only, and is no import at run time.
  const values = found
    .filter(
      ([whole, type]) => type === undefined && !/^(?:import|export) \{\s*(?:type \w+(?: as \w+)?,?\s*)+\}/.test(whole),
    )
    .map(([, , name]) => resolve(name as string));
  return { path, imports, values };
});

/** From the bottom to the top; a file may import its own layer and those below it. */
const layers: readonly (readonly RegExp[])[] = [
  [/^src\/(errors|sql|limits|clock|events|hashFile|package|wire)\.ts$/],
  [/^src\/model\//],
  [/^src\/operation\.ts$/],
  [/^src\/operations\//],
  [/^src\/(dispatch|client|courier)\.ts$/],
  [/^src\/(drivers|actor|runners|migrate|backup)\//, /^src\/store\.ts$/],
  [/^src\/(cli|http|testing)\//, /^src\/index\.ts$/],
];

const layerOf = (path: string) => layers.findIndex((layer) => layer.some((pattern) => pattern.test(path)));

it("every file has its layer", () => {
  assert.ok(sources.length > 40);
  assert.deepEqual(
    sources.map(({ path }) => path).filter((path) => layerOf(path) === -1),
    [],
  );
});

it("imports run one way", () => {
  const wrong = sources.flatMap(({ path, values }) =>
    values
      .filter((name) => name.startsWith("src/") && layerOf(name) > layerOf(path))
      .map((name) => `${path} imports ${name}`),
  );
  assert.deepEqual(wrong, []);
});

it("errors and sql import nothing but each other, and the model only errors, limits and what schemas need", () => {
  for (const { path, values } of sources) {
    if (path === "src/errors.ts") assert.deepEqual(values, []);
    if (path === "src/sql.ts") assert.deepEqual(values, ["src/errors.ts"]);
    if (!path.startsWith("src/model/")) continue;
    const allowed = (name: string) =>
      name.startsWith("src/model/") ||
      ["src/errors.ts", "src/limits.ts", "zod", "superjson", "node:crypto", "node:zlib"].includes(name);
    assert.deepEqual(
      values.filter((name) => !allowed(name)),
      [],
      path,
    );
  }
});

it("no file imports itself through others", () => {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const cycles: string[] = [];
  const visit = (path: string, trail: readonly string[]) => {
    if (trail.includes(path)) return void cycles.push([...trail.slice(trail.indexOf(path)), path].join(" > "));
    if (done.has(path)) return;
    for (const name of byPath.get(path)?.values ?? []) if (byPath.has(name)) visit(name, [...trail, path]);
    done.add(path);
  };
  const done = new Set<string>();
  for (const { path } of sources) visit(path, []);
  assert.deepEqual(cycles, []);
});

/** Where each package may be named; replacing one is an edit of that place. */
const homes: Readonly<Record<string, RegExp>> = {
  "better-sqlite3": /^src\/(drivers|migrate|backup)\/sqlite/,
  pg: /^src\/(drivers|migrate)\/postgres/,
  comlink: /^src\/actor\/ports\.ts$/,
  piscina: /^src\/runners\/pool\.ts$/,
  superjson: /^src\/model\/json\.ts$/,
  zod: /^src\/(model|operations)\/|^src\/operation\.ts$/,
  commander: /^src\/cli\//,
};

it("each third-party package is imported in one place", () => {
  const wrong = sources.flatMap(({ path, imports }) =>
    imports
      .filter((name) => !name.startsWith("src/") && !name.startsWith("node:") && !homes[name]?.test(path))
      .map((name) => `${path} imports ${name}`),
  );
  assert.deepEqual(wrong, []);
});

it("dispatch, client and courier know no thread, port or database", () => {
  for (const { path, imports, values } of sources) {
    if (!["src/dispatch.ts", "src/client.ts", "src/courier.ts"].includes(path)) continue;
    assert.deepEqual(
      imports.filter((name) => name.startsWith("node:") || name in homes),
      [],
      path,
    );
    assert.deepEqual(
      values.filter((name) => /^src\/(drivers|actor|runners)\//.test(name)),
      [],
      path,
    );
  }
});

it("operations do no I/O", () => {
  for (const { path, imports } of sources) {
    if (path.startsWith("src/operations/"))
      assert.deepEqual(
        imports.filter((name) => name.startsWith("node:")),
        [],
        path,
      );
  }
});

it("no file is called util, helpers, common code, lib, types or manager", () => {
  // model/common.ts names what its rows have in common.
  const vague = /\/(utils?|helpers?|lib|types|managers?)(\.ts|\/)/;
  assert.deepEqual(
    sources.map(({ path }) => path).filter((path) => vague.test(path)),
    [],
  );
});

// A runner module is known by its default export.
const runnerModules = ["src/cli/demo/runner.ts"];

it("no default exports, enums or namespaces, and no await using", () => {
  for (const { path } of sources) {
    const text = readFileSync(join(root, path), "utf8");
    if (!runnerModules.includes(path)) assert.doesNotMatch(text, /^export default/m, path);
    assert.doesNotMatch(text, /^(export )?(const )?enum |^(export )?namespace |\bawait using\b/m, path);
  }
});
