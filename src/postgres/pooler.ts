// Refuses a connection pooler that does not keep a session together: settings, advisory locks, prepared statements and
// LISTEN would then be those of whoever comes next (D-164). https://www.pgbouncer.org/features.html

import { randomUUID } from "node:crypto";
import type pg from "pg";
import { StoreError } from "../errors.ts";

/** A setting that no server knows, in which a session keeps a mark. */
const mark = "debug_server_db.session";

/**
 * Fails with incompatible when sessions share connections of the server. Only a pooler is examined: what it says is the
 * process of a connection is none of the server's. `connect` opens another connection in the same way, without using it.
 */
export async function requireSession(client: pg.Client, connect: () => Promise<pg.Client>): Promise<void> {
  // The level is named, because a hot standby runs nothing at the one that a server may have as its default.
  const answers = await client.query("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_backend_pid() AS pid; ROLLBACK");
  const [, asked] = answers as unknown as readonly pg.QueryResult<{ pid: number }>[];
  if (asked?.rows[0]?.pid === (client as pg.Client & { readonly processID: number | null }).processID) return;
  const own = randomUUID();
  await client.query("SELECT set_config($1, $2, false)", [mark, own]);
  const other = await connect();
  try {
    // The other session takes the connection that is free, and holds it while the first one looks again.
    const isKept = await other.query("BEGIN").then(
      async () => (await readMark(other)) !== own && (await readMark(client)) === own,
      () => false,
    );
    if (isKept) return;
  } finally {
    other.connection.stream.destroy();
  }
  throw new StoreError(
    "incompatible",
    "a connection pooler that does not keep sessions is in front of the server: set its pool_mode to session, or name the server itself",
    { details: { reason: "pooler" } },
  );
}

async function readMark(client: pg.Client): Promise<string | null | undefined> {
  const { rows } = await client.query<{ mark: string | null }>("SELECT current_setting($1, true) AS mark", [mark]);
  return rows[0]?.mark;
}
