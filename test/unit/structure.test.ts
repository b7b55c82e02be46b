// Checks the layout: imports run one way, each third-party package has one home, and comments stand alone.
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { it } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

interface Source {
  readonly path: string;
  /** Everything that the file imports, including types and dynamic imports. Relative paths are resolved. */
  readonly imports: readonly string[];
}

const sources: readonly Source[] = globSync("src/**/*.ts", { cwd: root }).map((path) => {
  const text = readFileSync(join(root, path), "utf8");
  const found = [
    ...text.matchAll(/^(?:import|export)\s+(?:type\s)?(?:[^;'"]*?\sfrom\s+)?["']([^"']+)["'];/gm),
    ...text.matchAll(/\bimport\("([^"]+)"\)/g),
  ].map(([, name]) => name as string);
  return {
    path,
    imports: found.map((name) => (name.startsWith(".") ? relative(root, join(root, dirname(path), name)) : name)),
  };
});

/** The folder of a file, or the file itself when it lies directly in src. */
const roomOf = (path: string) => /^src\/(?:[^/]+\/|[^/]+\.ts$)/.exec(path)?.[0] ?? path;

/** The layers from bottom to top, one for each folder (D-076). A file may import its own folder and lower layers. */
const layers: readonly (readonly string[])[] = [
  ["src/errors.ts", "src/postgresUrl.ts", "src/present.ts", "src/realTime.ts", "src/shell.ts"],
  [
    "src/sql.ts",
    "src/limits.ts",
    "src/clock.ts",
    "src/package.ts",
    "src/place.ts",
    "src/threadOptions.ts",
    "src/tracing.ts",
    "src/wire.ts",
  ],
  ["src/load.ts", "src/packed.ts"],
  ["src/model/"],
  ["src/context.ts", "src/caller.ts", "src/events.ts"],
  ["src/eventWarnings.ts", "src/operation.ts"],
  ["src/iteration.ts"],
  ["src/pages.ts"],
  ["src/operations/"],
  ["src/driver.ts"],
  ["src/keyed.ts"],
  ["src/driverOutcome.ts"],
  ["src/dispatch.ts"],
  ["src/outgoing.ts"],
  ["src/joining.ts", "src/recording.ts"],
  ["src/courier.ts"],
  ["src/client.ts"],
  ["src/files/"],
  ["src/archive/"],
  ["src/schema/"],
  ["src/sqlite/"],
  ["src/postgres/"],
  ["src/migrate/"],
  ["src/backup/"],
  ["src/storeTypes.ts"],
  ["src/actor/"],
  ["src/remote/"],
  ["src/store.ts"],
  ["src/pool/"],
  ["src/collector/"],
  ["src/http/"],
  ["src/opentelemetry/"],
  ["src/kysely/"],
  ["src/testing/"],
  ["src/index.ts"],
  ["src/page/"],
  ["src/terminal/"],
  ["src/runner/"],
  ["src/demo/"],
  ["src/cli/"],
];

const layerOf = (path: string) => layers.findIndex((layer) => layer.includes(roomOf(path)));

it("every file has its layer", () => {
  assert.ok(sources.length > 40);
  assert.deepEqual(
    sources.map(({ path }) => path).filter((path) => layerOf(path) === -1),
    [],
  );
});

it("imports run one way, types included", () => {
  const wrong = sources.flatMap(({ path, imports }) =>
    imports
      .filter((name) => name.startsWith("src/") && roomOf(name) !== roomOf(path) && layerOf(name) > layerOf(path))
      .map((name) => `${path} imports ${name}`),
  );
  assert.deepEqual(wrong, []);
});

it("no two folders import each other", () => {
  const arrows = new Set(
    sources.flatMap(({ path, imports }) =>
      imports.filter((name) => name.startsWith("src/")).map((name) => `${roomOf(path)} ${roomOf(name)}`),
    ),
  );
  const pairs = [...arrows].filter((arrow) => {
    const [from, to] = arrow.split(" ") as [string, string];
    return from < to && arrows.has(`${to} ${from}`);
  });
  assert.deepEqual(pairs, []);
});

it("the engines do not import each other, and use the same file names for the same things", () => {
  const engines = ["src/sqlite/", "src/postgres/"];
  for (const { path, imports } of sources) {
    const other = engines.find((engine) => path.startsWith(engines.find((own) => own !== engine) as string));
    if (other !== undefined)
      assert.deepEqual(
        imports.filter((name) => name.startsWith(other)),
        [],
        path,
      );
  }
  const [sqlite = [], postgres = []] = engines.map((engine) =>
    sources
      .map(({ path }) => path)
      .filter((path) => path.startsWith(engine))
      .map((path) => path.slice(engine.length)),
  );
  const shared = [
    "body.ts",
    "catalog.ts",
    "connection.ts",
    "errors.ts",
    "locks.ts",
    "migrator.ts",
    "open.ts",
    "reads.ts",
    "statements.ts",
    "transaction.ts",
  ];
  assert.deepEqual(sqlite.filter((name) => postgres.includes(name)).sort(), shared);
});

it("errors and sql import nothing but each other, and the model only errors, limits and what schemas need", () => {
  for (const { path, imports } of sources) {
    if (path === "src/errors.ts") assert.deepEqual(imports, []);
    if (path === "src/sql.ts") assert.deepEqual(imports, ["src/errors.ts"]);
    if (!path.startsWith("src/model/")) continue;
    const allowed = (name: string) =>
      name.startsWith("src/model/") ||
      [
        "src/errors.ts",
        "src/limits.ts",
        "src/present.ts",
        "src/realTime.ts",
        "zod",
        "superjson",
        "node:crypto",
        "node:path",
        "node:util",
        "node:zlib",
      ].includes(name);
    assert.deepEqual(
      imports.filter((name) => !allowed(name)),
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
    for (const name of byPath.get(path)?.imports ?? []) if (byPath.has(name)) visit(name, [...trail, path]);
    done.add(path);
  };
  const done = new Set<string>();
  for (const { path } of sources) visit(path, []);
  assert.deepEqual(cycles, []);
});

/** The place where each package may be imported; replacing a package is an edit of that place. */
const homes: Readonly<Record<string, RegExp>> = {
  "better-sqlite3": /^src\/sqlite\//,
  pg: /^src\/postgres\//,
  comlink: /^src\/actor\/control\.ts$/,
  piscina: /^src\/pool\/pool\.ts$/,
  superjson: /^src\/model\/json\.ts$/,
  zod: /^src\/(model|operations)\/|^src\/operation\.ts$|^src\/http\/envelopes\.ts$/,
  commander: /^src\/(cli|terminal)\//,
  hono: /^src\/http\/storeHandler\.ts$/,
  "hono/cors": /^src\/http\/storeHandler\.ts$/,
  "@hono/node-server": /^src\/http\/nodeHandler\.ts$/,
  "@opentelemetry/api": /^src\/opentelemetry\//,
  kysely: /^src\/kysely\//,
  "@prometheus-io/client": /^src\/http\/exposition\.ts$/,
};

it("what may run in a test's thread takes time from one file, which fake timers do not reach", () => {
  const global =
    /(?<![\w.])(?:(?:set|clear)(?:Timeout|Interval|Immediate)\(|performance\.now|Date\.now|new Date\(\)|process\.(?:nextTick|hrtime)|queueMicrotask\(|AbortSignal\.timeout)/;
  const found = sources
    // The page runs in browsers.
    .filter(({ path }) => !/^src\/(?:realTime\.ts|cli\/|demo\/|terminal\/|page\/)/.test(path))
    .flatMap(({ path, imports }) => [
      ...imports.filter((name) => name.startsWith("node:timers")).map((name) => `${path} imports ${name}`),
      ...readFileSync(join(root, path), "utf8")
        .split("\n")
        .filter((line) => !/^\s*(?:\/\/|\*|\/\*)/.test(line) && global.test(line))
        .map((line) => `${path}: ${line.trim()}`),
    ]);
  assert.deepEqual(found, []);
});

it("each third-party package is imported in one place", () => {
  const wrong = sources.flatMap(({ path, imports }) =>
    imports
      .filter((name) => !name.startsWith("src/") && !name.startsWith("node:") && !homes[name]?.test(path))
      .map((name) => `${path} imports ${name}`),
  );
  assert.deepEqual(wrong, []);
});

it("dispatch, client and courier know no thread, port or database", () => {
  for (const { path, imports } of sources) {
    if (
      ![
        "src/dispatch.ts",
        "src/keyed.ts",
        "src/client.ts",
        "src/outgoing.ts",
        "src/courier.ts",
        "src/joining.ts",
      ].includes(path)
    )
      continue;
    assert.deepEqual(
      imports.filter((name) => (name.startsWith("node:") && name !== "node:util") || name in homes),
      [],
      path,
    );
    assert.deepEqual(
      imports.filter((name) => /^src\/(sqlite|postgres|actor|pool)\//.test(name)),
      [],
      path,
    );
  }
});

it("the runner uses the public API, and beside it only the functions of time and `present`", () => {
  const allowed = /^(?:node:|src\/runner\/|src\/(?:index|realTime|present)\.ts$)/;
  const others = sources
    .filter(({ path }) => path.startsWith("src/runner/"))
    .flatMap(({ path, imports }) =>
      imports.filter((name) => !allowed.test(name)).map((name) => `${path} imports ${name}`),
    );
  assert.deepEqual(others, []);
});

it("the page takes only types from the public API: a browser gets nothing but its own files", () => {
  for (const { path, imports } of sources) {
    if (!path.startsWith("src/page/")) continue;
    assert.deepEqual(
      imports.filter((name) => !name.startsWith("src/page/") && name !== "src/index.ts"),
      [],
      path,
    );
    assert.doesNotMatch(
      readFileSync(join(root, path), "utf8"),
      /^import (?!type )[^;]*from "\.\.\/|^import \{[^;]*\btype\b[^;]*from "\.\.\//m,
      path,
    );
  }
});

it("the demo uses the public API, and beside it only the terminal and the addresses of stores", () => {
  const allowed = /^(?:node:|src\/(?:demo|terminal|runner)\/|src\/index\.ts$)/;
  const others = sources
    .filter(({ path }) => path.startsWith("src/demo/"))
    .flatMap(({ path, imports }) =>
      imports.filter((name) => !allowed.test(name)).map((name) => `${path} imports ${name}`),
    );
  assert.deepEqual(
    others.sort(),
    ["clean", "plan", "run"].map((name) => `src/demo/${name}.ts imports src/place.ts`),
  );
});

/** All source files with their texts, including those of tests. */
const texts = globSync(["src/**/*.ts", "workers/*.ts", "bench/**/*.ts", "docs/*.ts", "test/**/*.ts"], {
  cwd: root,
  exclude: (path) => path === "node_modules",
}).map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));

it("every file opens with one to three lines that say what it is for", () => {
  // A drawing or an explanation may follow after an empty comment line.
  assert.ok(texts.length > 300);
  const wrong = texts.filter(({ text }) => {
    const opening = /^(?:\/\/ biome-ignore-all .*\n)?((?:\/\/ \S.*\n)+)/.exec(text)?.[1] ?? "";
    const lines = opening.split("\n").length - 1;
    return lines < 1 || lines > 3;
  });
  assert.deepEqual(
    wrong.map(({ path }) => path),
    [],
  );
});

it("no doc comment and no head of a file begins with a word that needs another sentence before it", () => {
  const dangling = /(?:\/\*\*[\s*]*|^\/\/ )(?:Of|Told|By|At|With|Since|What|When|Where|Whether|Who|Whose|How)\b.*/;
  const docComment = /\/\*\*[\s*]*[^\s*].*/g;
  const found = texts.flatMap(({ path, text }) =>
    [text.split("\n", 1)[0] as string, ...(text.match(docComment) ?? [])]
      .filter((comment) => dangling.test(comment))
      .map((comment) => `${path}: ${comment.replace(/\s+/g, " ")}`),
  );
  assert.deepEqual(found, []);
});

it("every test file lies in the folder of a tier, where npm test finds it", () => {
  const tests = texts.map(({ path }) => path).filter((path) => path.endsWith(".test.ts"));
  assert.ok(tests.length > 80);
  assert.deepEqual(
    tests.filter((path) => !/^test\/(?:conformance|engines|system|unit)\//.test(path)),
    [],
  );
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
const runnerModules = ["src/runner/runnerThread.ts"];

it("no default exports, enums or namespaces, and no await using", () => {
  for (const { path } of sources) {
    const text = readFileSync(join(root, path), "utf8");
    if (!runnerModules.includes(path)) assert.doesNotMatch(text, /^export default/m, path);
    assert.doesNotMatch(text, /^(export )?(const )?enum |^(export )?namespace |\bawait using\b/m, path);
  }
});

/** The names that Node has got since version 20, in the modules that the package imports. */
const newNames: Readonly<Record<string, readonly string[]>> = {
  crypto: ["argon2", "argon2Sync", "decapsulate", "encapsulate", "randomUUIDv7"],
  fs: ["Utf8Stream", "glob", "globSync", "mkdtempDisposableSync"],
  "fs/promises": ["glob", "mkdtempDisposable"],
  process: ["execve", "finalization", "ref", "threadCpuUsage", "unref"],
  util: ["convertProcessSignalToExitCode", "diff", "getCallSites", "getSystemErrorMessage", "setTraceSigInt"],
  worker_threads: ["isInternalThread", "isMarkedAsUntransferable", "locks", "markAsUncloneable", "threadName"],
  zlib: ["createZstdCompress", "createZstdDecompress", "zstdCompress", "zstdDecompress"],
};

it("a Node that is too old can load the package, which then says so", () => {
  const wrong = sources.flatMap(({ path }) => {
    const text = readFileSync(join(root, path), "utf8");
    return [...text.matchAll(/^import \{([^}]*)\} from "node:([\w/]+)";/gm)].flatMap(([, names = "", module = ""]) =>
      names
        .split(",")
        .map((name) => name.trim())
        .filter((name) => newNames[module]?.includes(name))
        .map((name) => `${path} imports ${name} of node:${module} by its name`),
    );
  });
  assert.deepEqual(wrong, []);
});
