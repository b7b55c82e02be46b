// A simple queue on SQLite, as its own page shows it, at the durability of the store:
// https://github.com/justplainstuff/plainjob
//
// It does less than a command of the store: a job has no lease with a fencing token, no log, no versions and no feed of
// changes, and `add` is a call of the same thread without a hop.
import { join } from "node:path";
import { type Contender, unitsToPrepare } from "../cells/cell.ts";
import { connect } from "../statements.ts";

export const plainjob: Contender = {
  scenarios: ["enqueue", "work"],
  thread: new URL("./plainjobThread.ts", import.meta.url),
  needs: ["plainjob"],
  async prepare(cell, folder) {
    const path = join(folder, "plainjob.db");
    const { openQueue } = await import("./plainjobThread.ts");
    const { queue, db } = await openQueue(path);
    db.transaction(() => {
      for (let index = 0; index < unitsToPrepare(cell); index++) queue.add("bench", { argv: ["true"] });
    })();
    queue.close();
    return {
      threads: Array.from({ length: cell.threads }, () => ({ data: { path } })),
      async finish() {
        const reopened = connect(path, 5_000);
        // 2 is its JobStatus.Done.
        const where = cell.scenario === "work" ? "WHERE status = 2" : "";
        try {
          return reopened.prepare(`SELECT count(*) FROM plainjob_jobs ${where}`).pluck().get() as number;
        } finally {
          reopened.close();
        }
      },
    };
  },
};
