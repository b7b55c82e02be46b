// Appends to the logs of commands. The runner appends under the fencing token of its lease, at the offset where its
// last append ended, so a repeated append stores nothing twice. A log that grows past its limit loses its middle and
// keeps its beginning and its end. The end of an attempt seals its log (commandState.ts).
import { z } from "zod";
import { bounds } from "../limits.ts";
import { boolean, integer, record } from "../model/codec.ts";
import { Fence, Id } from "../model/fields.ts";
import { countLines, LogData } from "../model/logs.ts";
import { logStreams } from "../model/vocabulary.ts";
import { fail, operation } from "../operation.ts";
import { all, change, changeEach, first, forUpdate, sql, step } from "../sql.ts";
import { leaseLost } from "./failures.ts";
import { getRow } from "./rows.ts";
import { logTopic } from "./topics.ts";

interface AttemptRow {
  readonly id: number;
  readonly outcome: string | null;
  readonly log_state: "open" | "sealed" | "pruned";
  readonly next_offset: number;
  readonly next_line: number;
  readonly limit_bytes: number;
  readonly dropped_bytes: number;
  /** The expiry of the command's lease; null unless that is the lease of this attempt. */
  readonly lease_expires_at: number | null;
}

/**
 * Appends bytes to the log of a running command. Repeating the call stores nothing twice.
 *
 * Input    fence: the fencing token of the claim. offset: the number of bytes written before these. data: 1 .. 65 536
 *          bytes
 * Result   { ackOffset, truncated }: everything before ackOffset is stored. truncated: the log has exceeded its limit,
 *          and a part of its middle was dropped. A log of very small chunks may stay over its limit until later calls
 *          have dropped the rest
 * Fails    not_found | log_gap { expectedOffset } | log_sealed | lease_lost { currentFence }
 * Effect   one row of log_chunks, one row of attempts; no row of changes, because a log has its own cursor. Calls
 *          of one tick that continue each other are sent as one call of at most 65 536 bytes, and all return the
 *          ackOffset of the last
 * Cost     3 statements by key; beyond the limit 2 to 17 more, which drop at most 1 024 chunks
 */
export const append = operation({
  access: "write",
  input: z.strictObject({
    commandId: Id,
    fence: Fence,
    offset: z.int().min(0),
    stream: z.enum(logStreams).default("stdout"),
    data: LogData,
  }),
  output: record({ ackOffset: integer, truncated: boolean }),
  errors: ["not_found", "log_gap", "log_sealed", "lease_lost"],
  touches: ({ commandId }) => logTopic(commandId),
  joining: {
    // A part whose bytes are stored already does not fail with these codes (D-007).
    separateOn: ["log_sealed", "lease_lost"],
    follows: (next, last, first) =>
      next.commandId === last.commandId &&
      next.fence === last.fence &&
      next.stream === last.stream &&
      next.offset === endOffset(last) &&
      endOffset(next) - first.offset <= bounds.logChunkBytes,
    join: (run) => ({ ...(run[0] as (typeof run)[number]), data: concatenate(run.map(({ data }) => data)) }),
  },
  *run({ commandId, fence, offset, stream, data }, { now, wake }) {
    const attempt = yield* first<AttemptRow>(sql`
      SELECT
        id,
        outcome,
        log_state,
        next_offset,
        next_line,
        limit_bytes,
        dropped_bytes,
        (
          SELECT CASE WHEN commands.fence = attempts.fence THEN lease_expires_at END FROM commands WHERE id = command_id
        ) AS lease_expires_at
      FROM attempts
      WHERE command_id = ${commandId} AND fence = ${fence} ${forUpdate}`);
    if (attempt === undefined) return yield* refuseLostLease(commandId, fence);
    const { id, next_offset, next_line, dropped_bytes } = attempt;
    const end = endOffset({ offset, data });
    // Stored bytes are acknowledged even if the log is sealed or the lease is lost: the runner missed the first answer.
    if (end <= next_offset) return { ackOffset: next_offset, truncated: dropped_bytes > 0 ? 1 : 0 };
    if (attempt.outcome === "lost") return yield* refuseLostLease(commandId, fence);
    if (attempt.log_state !== "open") {
      // A command that was ended by force has another fencing token than its last attempt (D-079).
      if ((yield* getRow("command", commandId)).fence !== fence) return yield* refuseLostLease(commandId, fence);
      const message = `the log of command ${commandId} is ${attempt.log_state} at ${next_offset} bytes: stop appending`;
      fail("log_sealed", { nextOffset: next_offset }, message);
    }
    if (attempt.lease_expires_at === null) return yield* refuseLostLease(commandId, fence);
    if (offset > next_offset) {
      const message = `the log of command ${commandId} has ${next_offset} bytes, so bytes are missing before ${offset}`;
      fail("log_gap", { expectedOffset: next_offset }, message);
    }
    const fresh = data.subarray(next_offset - offset);
    const lines = countLines(fresh);
    const excess = end - dropped_bytes - attempt.limit_bytes;
    const dropped = dropped_bytes + (excess > 0 ? yield* dropMiddle(attempt, excess) : 0);
    yield* changeEach([
      sql`
        UPDATE attempts SET
          next_offset = ${end},
          next_line = ${next_line + lines},
          dropped_bytes = ${dropped}
        WHERE id = ${id}`,
      sql`
        INSERT INTO log_chunks (
          attempt_id,
          start_offset,
          byte_length,
          start_line,
          line_count,
          stream,
          at,
          data
        ) VALUES (
          ${id},
          ${next_offset},
          ${fresh.byteLength},
          ${next_line},
          ${lines},
          ${stream},
          ${now},
          ${fresh}
        )`,
    ]);
    wake(logTopic(commandId));
    return { ackOffset: end, truncated: dropped > 0 ? 1 : 0 };
  },
});

/** Returns the offset after the last of the bytes. */
function endOffset({ offset, data }: { readonly offset: number; readonly data: Uint8Array }): number {
  return offset + data.byteLength;
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

/** Fails with `lease_lost`, or with `not_found` when there is no such command. */
const refuseLostLease = step(function* (commandId: string, fence: number) {
  return leaseLost(yield* getRow("command", commandId), fence);
});

/**
 * The bounds of what one call drops. The minimum spares most calls from dropping anything. The maximum is more than a
 * call adds, so that a log returns to its limit, and little enough to hold up no other call.
 */
const dropping = { bytesMin: 4_096, bytesMax: 4 * bounds.logChunkBytes, chunksMax: 1_024, chunksPerRead: 64 };

/**
 * Drops chunks from the middle of a log and returns the number of their bytes. Keeps the first half of the limit, and
 * drops the oldest chunks after it, so that the log always has its end (D-033).
 */
const dropMiddle = step(function* (attempt: AttemptRow, excess: number) {
  const needed = Math.min(Math.max(excess, dropping.bytesMin), dropping.bytesMax);
  const keptUpTo = Math.floor(attempt.limit_bytes / 2);
  let [from, dropped] = [keptUpTo, 0];
  for (let chunks = 0; dropped < needed && chunks < dropping.chunksMax; chunks += dropping.chunksPerRead) {
    const oldest = yield* all<{ start_offset: number; byte_length: number }>(sql`
      SELECT start_offset, byte_length FROM log_chunks
      WHERE attempt_id = ${attempt.id} AND start_offset >= ${from}
      ORDER BY start_offset LIMIT ${dropping.chunksPerRead}`);
    for (const { start_offset, byte_length } of oldest) {
      if (dropped >= needed) break;
      dropped += byte_length;
      from = start_offset + byte_length;
    }
    if (oldest.length < dropping.chunksPerRead) break;
  }
  yield* change(sql`
    DELETE FROM log_chunks
    WHERE attempt_id = ${attempt.id} AND start_offset >= ${keptUpTo} AND start_offset < ${from}`);
  return dropped;
});
