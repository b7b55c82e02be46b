// All unit tests in one process, because a process takes longer to start than most of their files to run.
import { globSync } from "node:fs";

for (const file of globSync("**/*.test.ts", { cwd: import.meta.dirname }).toSorted()) await import(`./${file}`);
