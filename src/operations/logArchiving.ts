// Archives a log on demand.
import { z } from "zod";
import { boolean, record } from "../model/codec.ts";
import { Id, WaitMs } from "../model/fields.ts";
import { fail, NotYet, operation } from "../operation.ts";
import { and, change, first, sql, when } from "../sql.ts";
import { invalidTransition, notFound } from "./failures.ts";
import { atOnce, logMovesTopic } from "./logMoves.ts";
import type { LogRow } from "./logStorage.ts";
import { logTopic } from "./topics.ts";

/**
 * Moves a sealed log to the log archive now, and waits for it. Without this call, logs move
 * `limits.logArchiveAfterMs` after the end of their attempt.
 *
 * Input    attempt: the number of the attempt (default: the latest one)
 * Result   { archived }: false when the log has no bytes, or when the wait is over. The log then moves as soon as a server
 *          of this store has an archive that takes it: after a failure, it is tried again until it has moved. A server in another process learns of the wish within `limits.logArchiveEveryMs`
 * Fails    not_found | invalid_transition (the log is open)
 * Effect   one row of log_moves, until the log has moved; no row of changes, because what a log holds does not change
 */
export const archive = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({ commandId: Id, attempt: z.int().positive().optional(), waitMs: WaitMs.default(20_000) }),
  output: record({ archived: boolean }),
  errors: ["not_found", "invalid_transition"],
  waitMs: (input) => input.waitMs,
  *run({ commandId, attempt }, { wake }) {
    const conditions = and(
      sql`command_id = ${commandId}`,
      when(attempt, (number) => sql`attempt = ${number}`),
    );
    const log = yield* first<LogRow & { readonly log_state: "open" | "sealed" | "pruned" }>(sql`
      SELECT id, next_offset, log_uri, log_state FROM attempts WHERE ${conditions} ORDER BY attempt DESC LIMIT 1`);
    if (log === undefined) {
      const command = yield* first(sql`SELECT id FROM commands WHERE id = ${commandId}`);
      if (command === undefined) notFound("command", commandId);
      const message = `command ${commandId} has no attempt ${attempt ?? ""}`.trimEnd();
      fail("not_found", { entity: "attempt", attempt: attempt ?? null }, message);
    }
    if (log.log_state === "open")
      invalidTransition("log", "open", `the log of command ${commandId} is open: it moves when its attempt has ended`);
    if (log.log_uri !== null) return { archived: 1 };
    if (log.log_state === "pruned" || log.next_offset === 0) return { archived: 0 };
    const wanted = yield* change(sql`
      INSERT INTO log_moves (
        attempt_id,
        phase,
        due_at
      ) VALUES (
        ${log.id},
        'wanted',
        ${atOnce}
      )
      ON CONFLICT (attempt_id) DO NOTHING`);
    if (wanted > 0) wake(logMovesTopic);
    return new NotYet([logTopic(commandId)], { archived: 0 });
  },
});
