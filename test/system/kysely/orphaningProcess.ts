// A process that reads with Kysely, reports the process that reads for it, and closes nothing.
import type { ChildProcess } from "node:child_process";
import { subscribe } from "node:diagnostics_channel";
import { sql } from "kysely";
import { openKysely } from "../../../src/kysely/index.ts";

export interface OrphanReport {
  /** The process that reads. */
  readonly pid: number;
}

let child: ChildProcess | undefined;
subscribe("child_process", (message) => {
  child = (message as { process: ChildProcess }).process;
});

const [url = "", statement = ""] = process.argv.slice(2);
const db = await openKysely({ url, timeoutMs: 3_000 });
const read = sql.raw(statement).execute(db);
process.send?.({ pid: child?.pid as number } satisfies OrphanReport);
await read;
