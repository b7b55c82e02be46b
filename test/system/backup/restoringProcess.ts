// A process to be killed: restores, and kills itself after a step if one is named.
import { restoreSqlite } from "../../../src/sqlite/restore.ts";

const [, , backup, path, dieAfter] = process.argv as [string, string, string, string, string];
process.stdout.write("begins\n");
restoreSqlite({
  backup,
  path,
  keep: true,
  onStep(step) {
    if (step === dieAfter) process.kill(process.pid, "SIGKILL");
  },
});
process.stdout.write("done\n");
