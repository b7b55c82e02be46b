import { z } from "zod";
import { integer, list as listOf, oneOf, page, type RawOf, record, text as textValue, time } from "../model/codec.ts";
import { Fence, Id, Json, LeaseTtl, Name, NewId, paging, text } from "../model/fields.ts";
import { Runner } from "../model/runners.ts";
import { runnerStates } from "../model/vocabulary.ts";
import { after, operation } from "../operation.ts";
import { change, first, forUpdate, one, sql, step, when } from "../sql.ts";
import { renewCommand } from "./commandState.ts";
import { invalidTransition, notFound } from "./failures.ts";
import { listPage } from "./paging.ts";
import { claimableTopic } from "./topics.ts";

type Row = RawOf<typeof Runner>;

/**
 * Makes a runner known. The same boot id again is the same runner: its row is brought up to date, its time renewed, and it is online, also
 * when it was draining or stalled.
 *
 * Input    ttlMs: how long it counts as alive without a heartbeat, 1_000 .. 86_400_000
 * Fails    invalid_transition when a runner of this boot id is gone: it must start with a new one | conflict { reason: "exists" }
 * Effect   one row of runners and of changes
 */
export const register = operation({
  access: "write",
  input: z.strictObject({
    id: NewId,
    name: Name,
    bootId: NewId,
    host: text(255).default("localhost"),
    pid: z.int().min(0).default(0),
    labels: z.record(Name, text(1_000)).pipe(Json).prefault({}),
    ttlMs: LeaseTtl.default(60_000),
  }),
  output: Runner,
  errors: ["invalid_transition", "conflict"],
  *run(input, { now, changed }) {
    const row = yield* first<Row>(sql`
      INSERT INTO runners (id, name, boot_id, host, pid, labels, state, heartbeat_at, expires_at, created_at, updated_at)
      VALUES (${input.id}, ${input.name}, ${input.bootId}, ${input.host}, ${input.pid}, ${input.labels}, 'online', ${now}, ${after(now, input.ttlMs)}, ${now}, ${now})
      ON CONFLICT (boot_id) DO UPDATE SET name = excluded.name, host = excluded.host, pid = excluded.pid, labels = excluded.labels, state = 'online',
        heartbeat_at = excluded.heartbeat_at, expires_at = excluded.expires_at, version = runners.version + 1, updated_at = excluded.updated_at
      WHERE runners.state <> 'gone'
      RETURNING *`);
    if (row === undefined) invalidTransition("runner", "gone", "the runner is gone; start it with a new bootId");
    changed({ entity: "runner", id: row.id, op: "register", version: row.version });
    return row;
  },
});

const Held = z
  .array(z.strictObject({ id: Id, fence: Fence }))
  .max(1_000)
  .default([]);

export const Heartbeat = record({
  expiresAt: time,
  /** What the runner thought it held and does not: stop at once and touch nothing. */
  lost: listOf(record({ kind: oneOf(["worktree", "command"]), id: textValue, fence: integer })),
  /** Commands to stop and then finish as cancelled. */
  cancel: listOf(textValue),
});

/**
 * Renews the runner and all that it holds, and tells what it lost and what to cancel.
 *
 * Input    worktrees, commands: the held ids with their fences; ttlMs: milliseconds from now
 * Result   a command whose session or self was cancelled stays held, and is listed in `cancel` until it is finished
 * Fails    not_found | invalid_transition when the runner is gone: it must register again
 * Effect   the lease columns of all that is held; no row of changes
 * Cost     2 statements and 1 by primary key for each held id; lane urgent
 */
export const heartbeat = operation({
  access: "write",
  lane: "urgent",
  input: z.strictObject({ runnerId: Id, worktrees: Held, commands: Held, ttlMs: LeaseTtl.default(60_000) }),
  output: Heartbeat,
  errors: ["not_found", "invalid_transition"],
  *run({ runnerId, worktrees, commands, ttlMs }, { now }) {
    const expires_at = after(now, ttlMs);
    const beaten = yield* change(sql`
      UPDATE runners SET heartbeat_at = ${now}, expires_at = ${expires_at}, state = CASE state WHEN 'stalled' THEN 'online' ELSE state END
      WHERE id = ${runnerId} AND state <> 'gone'`);
    if (beaten === 0) yield* lockRunner(runnerId);
    const lostCommands: { kind: "command"; id: string; fence: number }[] = [];
    const cancel: string[] = [];
    for (const { id, fence } of inOrder(commands)) {
      const state = yield* renewCommand({ id, fence }, runnerId, expires_at, now);
      if (state === undefined) lostCommands.push({ kind: "command", id, fence });
      else if (state === "cancelling") cancel.push(id);
    }
    const lost: { kind: "worktree" | "command"; id: string; fence: number }[] = [];
    for (const { id, fence } of inOrder(worktrees)) {
      const renewed = yield* change(sql`
        UPDATE worktrees SET lease_expires_at = ${expires_at}
        WHERE id = ${id} AND fence = ${fence} AND lease_runner_id = ${runnerId} AND lease_expires_at > ${now}`);
      if (renewed === 0) lost.push({ kind: "worktree", id, fence });
    }
    return { expiresAt: expires_at.getTime(), lost: [...lost, ...lostCommands], cancel };
  },
});

/** Rows of one kind are locked in the order of their ids, so that two who want several do not wait for each other in a circle (D-041). */
function inOrder<Held extends { readonly id: string }>(held: readonly Held[]): readonly Held[] {
  return held.toSorted((left, right) => (left.id < right.id ? -1 : 1));
}

/**
 * The runner finishes what it has and is given no more commands; it may still lease a tree for what it runs. Repeated, it changes nothing.
 *
 * Fails    not_found | invalid_transition when it is gone
 */
export const drain = operation({
  access: "write",
  input: z.strictObject({ runnerId: Id }),
  output: Runner,
  errors: ["not_found", "invalid_transition"],
  *run({ runnerId }, { now, changed, wake }) {
    const before = yield* lockRunner(runnerId);
    if (before.state === "draining") return before;
    // A claim of this runner that waits for work learns that there will be none.
    wake(claimableTopic);
    const row = yield* one<Row>(sql`
      UPDATE runners SET state = 'draining', version = version + 1, updated_at = ${now} WHERE id = ${runnerId} RETURNING *`);
    changed({ entity: "runner", id: runnerId, op: "drain", version: row.version });
    return row;
  },
});

/** Runners by age, of one state when asked for. */
export const list = operation({
  access: "read",
  input: z.strictObject({ state: z.enum(runnerStates).optional(), ...paging }),
  output: page(Runner),
  errors: [],
  *run(input) {
    return yield* listPage(
      "runner",
      input,
      when(input.state, (state) => sql`state = ${state}`),
    );
  },
});

/** A runner that is not gone. */
export const lockRunner = step(function* (runnerId: string) {
  const row = yield* first<Row>(sql`SELECT * FROM runners WHERE id = ${runnerId} ${forUpdate}`);
  if (row === undefined) notFound("runner", runnerId);
  if (row.state === "gone") invalidTransition("runner", "gone", "the runner is gone; register it again");
  return row;
});
