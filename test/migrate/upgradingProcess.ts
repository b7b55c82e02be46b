// A process to be killed: opens the store, says that it begins, and moves it to a revision.
import { readMigrations } from "../../src/migrate/files.ts";
import { downgrade, upgrade } from "../../src/migrate/move.ts";
import { openEngine } from "../../src/migrate/open.ts";

const [, , url, target, backup] = process.argv as [string, string, string, string, string];
const engine = await openEngine(url, { create: false, lockTimeoutMs: 10_000 });
const migrator = { engine, migrations: readMigrations(engine.dialect), now: () => Date.now() };
process.stdout.write("begins\n");
const options = { backup: backup === "backup", allowDataLoss: true };
const { steps } = await (target.startsWith("-") ? downgrade : upgrade)(migrator, target, options);
process.stdout.write(`${steps.length} done\n`);
await engine.close();
