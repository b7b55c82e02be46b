// A process to be killed: opens the engine, reports that it begins, and migrates to a revision.

import { openEngine } from "../../../src/migrate/open.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { readMigrations } from "../../../src/schema/migrationFiles.ts";

const [, , url, target, backup] = process.argv as [string, string, string, string, string];
const engine = await openEngine(url, { create: false, lockTimeoutMs: 10_000 });
const migrator = { engine, migrations: readMigrations(engine.dialect), now: () => Date.now() };
process.stdout.write("begins\n");
const options = { backup: backup === "backup", allowDataLoss: true };
const { steps } = await (target.startsWith("-") ? downgrade : upgrade)(migrator, target, options);
process.stdout.write(`${steps.length} done\n`);
await engine.close();
