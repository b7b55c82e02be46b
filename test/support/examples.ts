// Extracts the TypeScript examples of the README and the guide, writes them to a folder, compiles and runs them.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { inspect, promisify } from "node:util";

const execute = promisify(execFile);
const root = fileURLToPath(new URL("../../", import.meta.url));

/** Maps each package name that examples import to the source file that replaces it. */
const entries = {
  "debug-server-db": `${root}src/index.ts`,
  "debug-server-db/http": `${root}src/http/index.ts`,
  "debug-server-db/kysely": `${root}src/kysely/index.ts`,
  "debug-server-db/opentelemetry": `${root}src/opentelemetry/index.ts`,
  "debug-server-db/runner": `${root}src/runner/index.ts`,
  "debug-server-db/testing": `${root}src/testing/index.ts`,
};

export interface Example {
  /** The page, and the position of the example on it. */
  readonly title: string;
  readonly file: string;
}

/** Writes every `ts` block of the pages into a temporary folder that is removed after the tests. */
export function writeExamples(): { readonly folder: string; readonly examples: readonly Example[] } {
  const folder = mkdtempSync(join(tmpdir(), "examples-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  // For the packages that examples use beside this one.
  symlinkSync(`${root}node_modules`, join(folder, "node_modules"));
  const pages = ["README.md", ...globSync("docs/guide/**/*.md", { cwd: root }).toSorted()];
  const examples = pages.flatMap((page) =>
    blocksOf(readFileSync(join(root, page), "utf8")).map((code, index) => {
      const file = join(folder, `${page.replace(/\.md$/, "").replaceAll(/\W/g, "-")}-${index + 1}.ts`);
      writeFileSync(file, `${withSources(code)}\nexport {};\n`);
      return { title: `${page}, example ${index + 1}`, file };
    }),
  );
  return { folder, examples };
}

function blocksOf(markdown: string): readonly string[] {
  return [...markdown.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code as string);
}

/** Returns the code with the source files of the package in place of its name. */
export function withSources(code: string): string {
  return code.replaceAll(
    / from "(debug-server-db[^"]*)"/g,
    (_, name: string) => ` from "${entries[name as keyof typeof entries]}"`,
  );
}

/** Compiles all examples in one run, as strictly as the sources, and fails with what the compiler prints. */
export async function compileExamples(folder: string): Promise<void> {
  const { compilerOptions } = JSON.parse(readFileSync(`${root}tsconfig.json`, "utf8"));
  const options = {
    ...compilerOptions,
    typeRoots: [`${root}node_modules/@types`],
    allowImportingTsExtensions: true,
    rewriteRelativeImportExtensions: false,
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: options, include: ["*.ts"] }));
  await execute(process.execPath, [`${root}node_modules/typescript/bin/tsc`, "-p", folder]).catch(({ stdout }) =>
    assert.fail(stdout),
  );
}

async function makeRepository(folder: string): Promise<void> {
  const author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
  await execute("git", ["init", "--quiet"], { cwd: folder });
  await execute("git", [...author, "commit", "--quiet", "--allow-empty", "--message", "First"], { cwd: folder });
}

/**
 * Runs an example twice in one folder, because a reader also runs it more than once. The folder is empty at first. The
 * examples share this process: it ends only when none of them has left anything open.
 */
export async function runTwice({ file }: Example): Promise<void> {
  const home = file.replace(/\.ts$/, "");
  mkdirSync(home);
  // The examples of the runner begin in a git repository.
  if (readFileSync(file, "utf8").includes("/src/runner/")) await makeRepository(home);
  process.chdir(home);
  for (const attempt of ["first", "second"]) {
    await import(`${pathToFileURL(file)}?run=${attempt}`).catch((error: unknown) =>
      assert.fail(`the ${attempt} run failed: ${inspect(error)}`),
    );
  }
}
