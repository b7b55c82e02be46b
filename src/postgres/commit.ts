// Commits transactions. When the answer to a COMMIT is lost, it asks the server over a new connection whether the
// transaction was committed (D-046).

import type pg from "pg";
import { TransactionLost } from "../driverOutcome.ts";
import { StoreError } from "../errors.ts";
import { realTime, sleep } from "../realTime.ts";
import type { PostgresConnection } from "./connection.ts";
import { ConnectionLost, isLost, transactionLost } from "./errors.ts";

/** The column that returns the id of the current transaction. Another connection can ask for its status by this id. */
export const ownXid = "pg_current_xact_id_if_assigned()::text AS xid";

/** The time limit for finding out the status of a transaction. */
const statusTimeoutMs = 3_000;

interface Commit {
  readonly connection: PostgresConnection;
  readonly client: pg.Client;
  readonly wrote: boolean;
  /** The id of the transaction, if it is known. */
  readonly xid: string | undefined;
}

/**
 * Commits a transaction. Returns undefined when it was committed, and an error with the outcome `unknown` when the
 * server does not report whether it was. Throws TransactionLost or ConnectionLost when it certainly was not committed.
 */
export async function commit({ connection, client, wrote, xid: knownXid }: Commit): Promise<StoreError | undefined> {
  // The query shares the round trip of COMMIT, and its answer usually arrives even when that of COMMIT is lost.
  const xidQuery =
    wrote && knownXid === undefined ? client.query({ name: "xid", text: `SELECT ${ownXid}` }) : undefined;
  const committing = client.query("COMMIT");
  const [xidAnswer, committed] = await Promise.allSettled([xidQuery, committing]);
  if (committed.status === "fulfilled") {
    const { command } = committed.value;
    if (command === "COMMIT") return undefined;
    // The server answers the COMMIT of a failed transaction with ROLLBACK.
    throw new TransactionLost(new StoreError("internal", `COMMIT was answered with ${command}`));
  }
  const cause: unknown = committed.reason;
  if (!isLost(cause)) throw transactionLost(cause);
  if (!wrote) throw new ConnectionLost(cause);
  connection.drop(client);
  const xid = knownXid ?? (xidAnswer.status === "fulfilled" ? (xidAnswer.value?.rows[0]?.xid as string) : undefined);
  const status = xid === undefined ? "unknown" : await statusOf(xid, connection);
  if (status === "committed") return undefined;
  if (status === "aborted") throw new ConnectionLost(cause);
  return new StoreError(
    "busy",
    "the connection was lost during COMMIT, and the server did not report whether the transaction was committed",
    { outcome: "unknown", cause },
  );
}

/**
 * Asks for the status of a transaction until the transaction has ended:
 * https://www.postgresql.org/docs/current/functions-info.html
 */
async function statusOf(xid: string, connection: PostgresConnection): Promise<"committed" | "aborted" | "unknown"> {
  const deadlineMs = realTime.elapsed() + statusTimeoutMs;
  const text = "SELECT pg_xact_status($1::xid8) AS status";
  while (realTime.elapsed() < deadlineMs) {
    try {
      const client = await connection.get();
      const { rows } = await client.query<{ status: string | null }>(text, [xid]);
      const status = rows[0]?.status;
      if (status === "committed" || status === "aborted") return status;
      if (status !== "in progress") return "unknown";
    } catch (error) {
      // After a failover, the address may lead to a standby for a while.
      if (error instanceof StoreError && error.code !== "busy" && error.code !== "read_only") return "unknown";
    }
    await sleep(20);
  }
  return "unknown";
}
