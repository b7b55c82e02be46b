// Runs the conformance suite on a backend. Every file in subjects/ is a subject, so a new file needs no registration.
import assert from "node:assert/strict";
import { existsSync, globSync } from "node:fs";
import { join } from "node:path";
import { describe } from "node:test";
import { backends, type TestedBackend } from "../support/backends.ts";
import { closeSharedStore } from "./suite.ts";

type Subject = (backend: TestedBackend) => void;

for (const name of Object.keys(backends))
  assert.ok(existsSync(join(import.meta.dirname, `${name}.test.ts`)), `the backend ${name} has no test file`);

/** Runs the suite; `whole` adds what the backend has in common with another one. */
export async function conformance(name: keyof typeof backends, { whole = false } = {}): Promise<void> {
  const { subjects: own, ...rest }: TestedBackend = backends[name];
  const backend = whole || own === undefined ? rest : { ...rest, subjects: own };
  const files = globSync("subjects/*.ts", { cwd: import.meta.dirname }).toSorted();
  const subjects = await Promise.all(files.map(readSubject));
  describe(backend.name, () => {
    closeSharedStore(backend);
    for (const subject of subjects) subject(backend);
  });
}

async function readSubject(file: string): Promise<Subject> {
  const [subject, ...others] = Object.values(await import(`./${file}`));
  assert.ok(typeof subject === "function" && others.length === 0, `${file} must export one function of a backend`);
  return subject as Subject;
}
