// A process to be killed: prunes backups, and kills itself after a step of the first removal.
import { pruneBackups } from "../../../src/sqlite/pruneBackups.ts";

const [, , folder, source, storeId, dieAfter] = process.argv as string[] as [
  string,
  string,
  string,
  string,
  string,
  string,
];
pruneBackups({
  folder,
  source,
  storeId,
  bounds: { backupsMs: null, backupsMax: 1 },
  onStep(step) {
    if (step === dieAfter) process.kill(process.pid, "SIGKILL");
  },
});
