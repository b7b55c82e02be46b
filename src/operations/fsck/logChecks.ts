// Checks of logs: the counters of an attempt agree with the chunks of its log, and the chunks with each other; the archive
// has what the index of an archived log says. Each chunk is compared only with the one before it, so that a log of any
// length is checked in steps.
import { type Statement, sql } from "../../sql.ts";
import { asText, type Check, type Walk } from "./check.ts";
import { writeLog } from "./repair.ts";

const attempts: Walk = { from: sql`attempts`, key: ["id"], start: [0] };
const blocks: Walk = { from: sql`log_blocks`, key: ["attempt_id", "start_offset"], start: [0, -1] };
const chunks: Walk = { from: sql`log_chunks`, key: ["attempt_id", "start_offset"], start: [0, -1] };

/** The chunks of a log that was removed may be gone in part, because its removal takes several steps. */
const isKept = sql`log_state <> 'pruned' AND log_uri IS NULL`;

/** A value of the last chunk of an attempt. */
const lastChunk = (value: Statement): Statement => sql`(
  SELECT ${value} FROM log_chunks
  WHERE log_chunks.attempt_id = attempts.id
  ORDER BY log_chunks.start_offset DESC LIMIT 1)`;

const end = sql`COALESCE(${lastChunk(sql`log_chunks.start_offset + log_chunks.byte_length`)}, 0)`;
const lines = sql`COALESCE(${lastChunk(sql`log_chunks.start_line + log_chunks.line_count`)}, 0)`;

/** The size of the hole in a log that has exceeded its limit: only what begins in the second half of the limit is dropped. */
const hole = sql`COALESCE(
  (
    SELECT log_chunks.start_offset FROM log_chunks
    WHERE log_chunks.attempt_id = attempts.id AND log_chunks.start_offset >= attempts.limit_bytes / 2
    ORDER BY log_chunks.start_offset LIMIT 1
  ) - COALESCE(
    (
      SELECT log_chunks.start_offset + log_chunks.byte_length FROM log_chunks
      WHERE log_chunks.attempt_id = attempts.id AND log_chunks.start_offset < attempts.limit_bytes / 2
      ORDER BY log_chunks.start_offset DESC LIMIT 1),
    0),
  0)`;

/** The name of a log: its command, and the number of the attempt. */
const logId = sql`${asText(sql`command_id`)} || '/' || ${asText(sql`attempt`)}`;
/** The name of the log of a chunk or a block. */
const logOfChunk = sql`(
  SELECT ${asText(sql`attempts.command_id`)} || '/' || ${asText(sql`attempts.attempt`)}
  FROM attempts WHERE attempts.id = attempt_id)`;

/** A value of the chunk before a chunk; null for the first one. */
const before = (value: Statement): Statement => sql`(
  SELECT ${value} FROM log_chunks AS earlier
  WHERE earlier.attempt_id = log_chunks.attempt_id AND earlier.start_offset < log_chunks.start_offset
  ORDER BY earlier.start_offset DESC LIMIT 1)`;

const endBefore = sql`COALESCE(${before(sql`earlier.start_offset + earlier.byte_length`)}, 0)`;
const linesBefore = sql`COALESCE(${before(sql`earlier.start_line + earlier.line_count`)}, 0)`;

/** The half of the limit, before whose end nothing is dropped; null for a log whose chunks are not judged. */
const half = sql`(SELECT limit_bytes / 2 FROM attempts WHERE attempts.id = attempt_id AND ${isKept})`;
/** True for the first chunk in the second half, before which there may be a hole. */
const followsHole = sql`start_offset >= ${half} AND COALESCE(${before(sql`earlier.start_offset`)}, -1) < ${half}`;

const isArchived = sql`EXISTS (SELECT 1 FROM attempts WHERE attempts.id = attempt_id AND log_uri IS NOT NULL)`;
const isLastBlock = sql`NOT EXISTS (
  SELECT 1 FROM log_blocks AS later
  WHERE later.attempt_id = log_blocks.attempt_id AND later.start_offset > log_blocks.start_offset)`;

export const logChecks: readonly Check[] = [
  {
    name: "log-end",
    says: "A log is as long as its chunks say, in bytes and in lines.",
    walk: attempts,
    rows: 5_000,
    rule: {
      id: logId,
      found: sql`next_offset`,
      expected: end,
      broken: sql`${isKept} AND (next_offset <> ${end} OR next_line <> ${lines})`,
    },
    // A constraint holds the three together.
    repair: writeLog(sql`next_offset = ${end}, next_line = ${lines}, dropped_bytes = ${hole}`),
    remedy: "Repair it: the log ends with its last chunk. A runner that still writes it sends the rest again.",
  },
  {
    name: "log-dropped",
    says: "A log counts the bytes that were dropped from its middle.",
    walk: attempts,
    rows: 5_000,
    rule: { id: logId, found: sql`dropped_bytes`, expected: hole, broken: sql`${isKept} AND dropped_bytes <> ${hole}` },
    repair: writeLog(sql`dropped_bytes = ${hole}`),
    remedy: "Repair it: the bytes between the chunks are counted.",
  },
  {
    name: "log-gap",
    says: "Each chunk of a log begins where the one before it ends, except after the bytes that were dropped.",
    walk: chunks,
    rows: 5_000,
    rule: {
      id: logOfChunk,
      found: sql`start_offset`,
      expected: endBefore,
      broken: sql`
        ${half} IS NOT NULL AND start_offset <> ${endBefore} AND NOT (${followsHole} AND start_offset > ${endBefore})`,
    },
    remedy: "A part of the log is lost, or stored twice. Restore a backup if it matters; the rest can be read.",
  },
  {
    name: "log-lines",
    says: "Each chunk of a log begins with the line at which the one before it ends.",
    walk: chunks,
    rows: 5_000,
    rule: {
      id: logOfChunk,
      found: sql`start_line`,
      expected: linesBefore,
      broken: sql`
        ${half} IS NOT NULL AND start_line <> ${linesBefore} AND NOT (${followsHole} AND start_line > ${linesBefore})`,
    },
    remedy: "The numbers of its lines are wrong from there on. The text of the log is not affected.",
  },
  {
    name: "log-object",
    says: "The log archive has the object of each archived log, to its end.",
    walk: blocks,
    rows: 64,
    depth: "end",
    rule: { id: logOfChunk, broken: sql`${isArchived} AND ${isLastBlock}` },
    remedy: "Put the object back into the archive. Without a copy of it the log, or its end, is lost.",
  },
  {
    name: "log-object-content",
    says: "Each block of an archived log can be read, and is what was stored.",
    isDeep: true,
    walk: blocks,
    rows: 16,
    depth: "content",
    rule: { id: logOfChunk, broken: isArchived },
    remedy:
      "Put the object back into the archive. Without a copy of it the part of the log is lost; the rest can be read.",
  },
];
