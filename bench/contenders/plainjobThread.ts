// A thread that adds jobs to plainjob's queue, or takes and finishes them as its worker does.
import type Database from "better-sqlite3";
import type { Cell, Opened } from "../cells/cell.ts";
import { connect } from "../statements.ts";
import { loadPackage } from "./packages.ts";
import { untilUnlocked } from "./untilUnlocked.ts";

/** The part of plainjob that is used here. */
interface Plainjob {
  better(db: Database.Database): unknown;
  defineQueue(options: { connection: unknown; logger: unknown }): Queue;
}
interface Queue {
  add(type: string, data: unknown): { id: number };
  getAndMarkJobAsProcessing(type: string): { id: number } | undefined;
  markJobAsDone(id: number): void;
  close(): void;
}

const silent = { error() {}, warn() {}, info() {}, debug() {} };

export async function openQueue(path: string): Promise<{ queue: Queue; db: Database.Database }> {
  const { better, defineQueue } = await loadPackage<Plainjob>("plainjob");
  const db = connect(path, 5_000);
  const queue = defineQueue({ connection: better(db), logger: silent });
  // It sets synchronous to NORMAL.
  db.pragma("synchronous = FULL");
  return { queue, db };
}

export async function open({ scenario }: Cell, { path }: { path: string }): Promise<Opened> {
  const { queue } = await openQueue(path);
  const work = async (): Promise<void> => {
    const job = await untilUnlocked(() => queue.getAndMarkJobAsProcessing("bench"));
    if (job === undefined) throw new Error("too few jobs were prepared");
    await untilUnlocked(() => queue.markJobAsDone(job.id));
  };
  return {
    unit: scenario === "work" ? work : () => void queue.add("bench", { argv: ["true"] }),
    close: () => queue.close(),
  };
}
