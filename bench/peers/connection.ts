// The usual first attempt, and the peer that ratios compare with: each thread has its own connection, and waits for the
// others in SQLite's busy timeout (D-002).
import { workerData } from "node:worker_threads";
import { appendInTurn, lineOf } from "../load.ts";
import { connect, prepareAppend } from "../statements.ts";
import { serveLoads } from "../threads.ts";

const busyMs = 5_000;
const db = connect((workerData as { path: string }).path, busyMs);
const begin = db.prepare("BEGIN IMMEDIATE");
const commit = db.prepare("COMMIT");
const rollback = db.prepare("ROLLBACK");

serveLoads((load) => {
  const append = prepareAppend(db, lineOf(load.size));
  return appendInTurn(load, (slot) => {
    begin.run();
    try {
      append(slot.commandId, slot.fence, slot.offset);
      commit.run();
    } catch (error) {
      if (db.inTransaction) rollback.run();
      throw error;
    }
    slot.offset += load.size;
  });
});
