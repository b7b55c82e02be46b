// Every TypeScript example of the README compiles in strict mode, and runs.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "readme-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const entries = { "debug-server-db": `${root}src/index.ts`, "debug-server-db/testing": `${root}src/testing/index.ts` };
const examples = [...readFileSync(`${root}README.md`, "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map(
  ([, code], index) => {
    const file = join(folder, `example${index + 1}.ts`);
    writeFileSync(
      file,
      `${(code as string).replace(/ from "(debug-server-db[^"]*)"/g, (_, name: keyof typeof entries) => ` from "${entries[name]}"`)}\nexport {};\n`,
    );
    return { file, number: index + 1 };
  },
);

test("the README has examples", () => assert.ok(examples.length >= 5));

test("the examples compile", async () => {
  const { compilerOptions } = JSON.parse(readFileSync(`${root}tsconfig.json`, "utf8"));
  const typeRoots = [`${root}node_modules/@types`];
  const options = {
    ...compilerOptions,
    typeRoots,
    allowImportingTsExtensions: true,
    rewriteRelativeImportExtensions: false,
  };
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: options, include: ["*.ts"] }));
  await run(process.execPath, [`${root}node_modules/typescript/bin/tsc`, "-p", folder]).catch(({ stdout }) =>
    assert.fail(stdout),
  );
});

for (const { file, number } of examples) {
  test(`example ${number} runs`, async () => {
    const home = mkdtempSync(join(folder, "run-"));
    const env = { ...process.env, DEBUG_SERVER_DB_URL: "" };
    await run(process.execPath, [file], { cwd: home, env, timeout: 60_000 }).catch(({ stderr }) => assert.fail(stderr));
  });
}
