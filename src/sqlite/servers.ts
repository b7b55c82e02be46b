// Finds out whether several servers have one SQLite file open, which makes each wait for the transactions of the others.
// A row of a server shows that it lives only when it appears or changes, because its server may have been killed. So
// each server writes its row again when another one has come (D-093).

import { hostname } from "node:os";
import type Database from "better-sqlite3";
import { isAlive } from "../files/processes.ts";
import type { Limits } from "../limits.ts";
import { newId } from "../model/ids.ts";
import { inImmediateTransaction } from "./locks.ts";

/** Another server of the same file. In two containers, host and process id may be those of this server. */
export interface OtherServer {
  readonly pid: number;
  readonly host: string;
}

interface Row {
  readonly key: string;
  readonly value: string;
}

/** The number of passes without an answer after which a row counts as left behind. */
const patience = 5;

/** The number of rows of other servers that are kept, however often servers are killed as soon as they have started. */
const rowsMax = 16;

const selectRows = "SELECT key, value FROM store_meta WHERE key > 'server ' AND key < 'server!' ORDER BY key";

function serverOf({ value }: Row): OtherServer {
  const [, pid, ...host] = value.split(" ");
  return { pid: Number(pid), host: host.join(" ") };
}

/** Lists the servers of a file, without those of this host that have been killed. */
export function listServers(db: Database.Database): readonly OtherServer[] {
  const servers = db.prepare<[], Row>(selectRows).all().map(serverOf);
  return servers.filter(({ pid, host }) => host !== hostname() || isAlive(pid));
}

export class ServerRow {
  readonly #key = `server ${newId()}`;
  readonly #rows: Database.Statement<[], Row>;
  readonly #save: Database.Statement<Row>;
  readonly #remove: Database.Statement<[key: string, value: string]>;
  readonly #removeOwn: Database.Statement<[key: string]>;
  readonly #onOther: (other: OtherServer) => void;
  /** The other rows as they were last seen, and the number of passes in which one did not change. */
  readonly #seen = new Map<string, { readonly value: string; passes: number }>();
  readonly #announced = new Set<string>();
  #writes = 0;
  #mustAnswer = false;

  /** Adds a row for this server. `onOther` is called once for each other server, when it has shown that it lives. */
  constructor(db: Database.Database, limits: Pick<Limits, "busyGiveUpMs">, onOther: (other: OtherServer) => void) {
    this.#onOther = onOther;
    this.#rows = db.prepare(selectRows);
    this.#save = db.prepare(
      "INSERT INTO store_meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    );
    this.#remove = db.prepare("DELETE FROM store_meta WHERE key = ? AND value = ?");
    this.#removeOwn = db.prepare("DELETE FROM store_meta WHERE key = ?");
    inImmediateTransaction(db, limits, () => {
      const rows = this.#rows.all();
      // A server that lives adds its row again.
      for (const { key, value } of rows.slice(0, Math.max(0, rows.length - rowsMax))) this.#remove.run(key, value);
      for (const { key, value } of rows) this.#seen.set(key, { value, passes: 0 });
      this.#write();
    });
  }

  /**
   * Looks at the rows of other servers. Called at intervals. Writes only when another server has come or is gone, so an
   * idle database stays as it is.
   */
  attend(): void {
    const rows = this.#rows.all();
    for (const key of this.#seen.keys()) if (!rows.some((row) => row.key === key)) this.#seen.delete(key);
    for (const row of rows) if (row.key !== this.#key) this.#look(row);
    if (!this.#mustAnswer && rows.some(({ key }) => key === this.#key)) return;
    this.#write();
    this.#mustAnswer = false;
  }

  remove(): void {
    this.#removeOwn.run(this.#key);
  }

  #look({ key, value }: Row): void {
    const seen = this.#seen.get(key);
    if (seen?.value === value) {
      if (++seen.passes === patience && !this.#announced.has(key)) this.#remove.run(key, value);
      return;
    }
    // The server behind a new row waits for an answer.
    this.#mustAnswer ||= seen === undefined;
    this.#seen.set(key, { value, passes: 0 });
    if (this.#announced.has(key)) return;
    this.#announced.add(key);
    this.#onOther(serverOf({ key, value }));
  }

  #write(): void {
    this.#save.run({ key: this.#key, value: `${++this.#writes} ${process.pid} ${hostname()}` });
  }
}
