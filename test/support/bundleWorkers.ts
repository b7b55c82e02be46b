// Bundles the entry points of threads for a run of the tests: loading 300 modules takes a thread longer than all that most
// tests make it do. Whoever runs a test file by itself gets the modules one by one.
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build, type Plugin } from "esbuild";

const root = fileURLToPath(new URL("../../", import.meta.url));
const entries = ["backup", "database", "reader", "readProcess"];

/** Keeps the URL that each module has on its own, because some find files beside them. */
const ownUrls: Plugin = {
  name: "own URLs",
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      return { loader: "ts", contents: source.replaceAll("import.meta.url", JSON.stringify(pathToFileURL(path))) };
    });
  },
};

/** Returns the variables with which the threads of a process run from bundles. */
export async function bundleWorkers(env: NodeJS.ProcessEnv): Promise<NodeJS.ProcessEnv> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: entries.map((name) => `workers/${name}.ts`),
    outdir: "out",
    outExtension: { ".js": ".mjs" },
    bundle: true,
    write: false,
    platform: "node",
    format: "esm",
    external: ["better-sqlite3", "pg"],
    // The CommonJS among the packages asks for Node's modules.
    banner: {
      js: `import { createRequire } from "node:module"; const require = createRequire(${JSON.stringify(root)});`,
    },
    plugins: [ownUrls],
  });
  const hash = createHash("sha256");
  for (const { contents } of outputFiles) hash.update(contents);
  // A name of their content, so that Node's cache of compiled modules finds them again.
  const folder = join(root, "node_modules/.cache/tests", `workers-${hash.digest("hex").slice(0, 16)}`);
  await mkdir(folder, { recursive: true });
  await Promise.all(
    outputFiles.map(({ path, contents }) => writeFile(join(folder, path.replace(/.*[/\\]/, "")), contents)),
  );
  const preload = `--import=${new URL("useBundledWorkers.mjs", import.meta.url).href}`;
  return {
    TEST_WORKERS: pathToFileURL(`${folder}/`).href,
    NODE_OPTIONS: env.NODE_OPTIONS === undefined ? preload : `${env.NODE_OPTIONS} ${preload}`,
  };
}
