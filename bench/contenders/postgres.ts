// A PostgreSQL server for one cell, with the durability that PostgreSQL has by default, and the rows that it holds in the
// end. The server is a process of its own: its CPU time and memory are not in the figures.
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import pg from "pg";
import { ownServer } from "../../test/support/postgresServer.ts";

export interface CellServer {
  readonly url: string;
  /** Runs a query whose answer is one number. */
  count(sql: string): Promise<number>;
  remove(): Promise<void>;
}

export async function cellServer(): Promise<CellServer> {
  const server = await ownServer("-c", "fsync=on", "-c", "synchronous_commit=on");
  const ask = async (sql: string): Promise<string> => {
    const client = new pg.Client(server.url);
    await client.connect();
    try {
      const { rows } = await client.query<string[]>({ text: sql, rowMode: "array" });
      return String(rows[0]?.[0]);
    } finally {
      await client.end();
    }
  };
  // A cell that fails or is ended leaves no server behind.
  const processId = Number.parseInt(await ask("SELECT pg_read_file('postmaster.pid')"), 10);
  const folder = dirname(await ask("SHOW data_directory"));
  const end = (): void => {
    process.kill(processId, "SIGQUIT");
    // Its processes still write for a moment.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    rmSync(folder, { recursive: true, force: true });
  };
  process.once("exit", end);
  return {
    url: server.url,
    count: async (sql) => Number(await ask(sql)),
    async remove() {
      await server.remove();
      process.off("exit", end);
    },
  };
}
