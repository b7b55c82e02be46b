// COMMIT, and what became of a transaction whose COMMIT was not answered: the server is asked over a new connection
// (D-046).

import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { TransactionLost } from "../driverOutcome.ts";
import { StoreError } from "../errors.ts";
import type { PostgresConnection } from "./connection.ts";
import { ConnectionLost, isLost, lostTo } from "./errors.ts";

/** The column by which a transaction learns its own number, with which others can ask what became of it. */
export const ownXid = "pg_current_xact_id_if_assigned()::text AS xid";

/** The time during which the server is asked for the status of a transaction. */
const askForMs = 3_000;

interface Commit {
  readonly connection: PostgresConnection;
  readonly client: pg.Client;
  readonly wrote: boolean;
  /** The number of the transaction, if it is known. */
  readonly xid: string | undefined;
}

/**
 * Commits a transaction. Returns undefined when it is committed, and an error with the outcome `unknown` when the
 * server cannot say. Fails with TransactionLost, or with ConnectionLost, when it is certain that nothing was committed.
 */
export async function commit({ connection, client, wrote, xid: known }: Commit): Promise<StoreError | undefined> {
  // The number mostly arrives before COMMIT has run.
  const asking = wrote && known === undefined ? client.query({ name: "xid", text: `SELECT ${ownXid}` }) : undefined;
  const committing = client.query("COMMIT");
  const [asked, committed] = await Promise.allSettled([asking, committing]);
  if (committed.status === "fulfilled") {
    const { command } = committed.value;
    if (command === "COMMIT") return undefined;
    // The server answers the COMMIT of a failed transaction with ROLLBACK.
    throw new TransactionLost(new StoreError("internal", `COMMIT was answered with ${command}`));
  }
  const cause: unknown = committed.reason;
  if (!isLost(cause)) throw lostTo(cause);
  if (!wrote) throw new ConnectionLost(cause);
  connection.drop(client);
  const xid = known ?? (asked.status === "fulfilled" ? (asked.value?.rows[0]?.xid as string) : undefined);
  const status = xid === undefined ? "unknown" : await statusOf(xid, connection);
  if (status === "committed") return undefined;
  if (status === "aborted") throw new ConnectionLost(cause);
  return new StoreError(
    "busy",
    "the connection was lost while the transaction was being committed, and the server cannot say whether it was",
    { outcome: "unknown", cause },
  );
}

/**
 * Asks for the status of a transaction until it has ended: https://www.postgresql.org/docs/current/functions-info.html
 */
async function statusOf(xid: string, connection: PostgresConnection): Promise<"committed" | "aborted" | "unknown"> {
  const overAt = performance.now() + askForMs;
  const text = "SELECT pg_xact_status($1::xid8) AS status";
  while (performance.now() < overAt) {
    try {
      const client = await connection.get();
      const { rows } = await client.query<{ status: string | null }>(text, [xid]);
      const status = rows[0]?.status;
      if (status === "committed" || status === "aborted") return status;
      if (status !== "in progress") return "unknown";
    } catch (error) {
      if (error instanceof StoreError && error.code !== "busy") return "unknown";
    }
    await sleep(20);
  }
  return "unknown";
}
