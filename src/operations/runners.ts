// Runners: processes or threads that execute commands. A runner stays alive by heartbeats, which also renew all leases
// that it holds. Without heartbeats and claims it is stalled, and later gone (maintenance.reap); a runner that
// is gone must register again, under a new boot id.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { integer, list as listOf, oneOf, page, record, text as textValue, time } from "../model/codec.ts";
import { asJson, Fence, Id, LeaseTtl, listInput, Name, NewId, oneOrMore, text } from "../model/fields.ts";
import { LabelKey } from "../model/labels.ts";
import { PlaceName, placeOfHost } from "../model/places.ts";
import { Runner } from "../model/runners.ts";
import { runnerStates } from "../model/vocabulary.ts";
import { operation } from "../operation.ts";
import { type Body, change, empty, first, forUpdate, one, sql, step } from "../sql.ts";
import { type Changeable, changedFields } from "./changeDetail.ts";
import { renewCommand } from "./commandState.ts";
import { invalidTransition, notFound } from "./failures.ts";
import { filter, listPage } from "./paging.ts";
import { getRow, inOrderOfIds, lockRow, type RowOf } from "./rows.ts";
import { replaceRunner } from "./runnerReplacement.ts";
import { runnerTopic } from "./topics.ts";

type Row = RowOf["runner"];

/** The fields that `changes` shows when a runner registers again with other ones. */
const changeable: Changeable = {
  name: "plain",
  host: "plain",
  place: "plain",
  pid: "plain",
  labels: "json",
  state: "plain",
};

const RegisterInput = z.strictObject({
  id: NewId,
  name: Name,
  bootId: NewId,
  host: text(255).default("localhost"),
  place: PlaceName.optional(),
  pid: z.int().min(0).default(0),
  labels: asJson(z.record(LabelKey, text(1_000))).prefault({}),
  ttlMs: LeaseTtl.default(60_000),
  replaces: Id.optional(),
});

/**
 * Registers a runner. Registering a boot id again updates that runner, renews it and sets it online, even if it was
 * draining or stalled.
 *
 * Input    bootId: identifies one run of the runner's process. place: where the runner can use directories, for its
 *          reservations (default: its host, or the place without a name for `localhost`). labels: what commands may require of
 *          it, by key. ttlMs: the time for which the runner counts as alive
 *          without a heartbeat. replaces: the id of an earlier run of the same name that has ended. It is gone from now
 *          on, and its leases end at once, as if their time had passed; what it still reports is refused
 * Fails    invalid_transition when the runner of this boot id is gone: register with a new one
 *          | conflict { reason: "exists" } | not_found when there is no runner to replace
 *          | conflict { reason: "other_name", name } when the runner to replace has another name
 * Effect   one row of runners, and one row of changes that names the fields that differ; none differ when an online
 *          runner repeats its registration, which then only renews it. With replaces, also the former runner, its
 *          commands and worktrees
 */
export const register = operation({
  access: "write",
  input: RegisterInput,
  output: Runner,
  errors: ["invalid_transition", "conflict", "not_found"],
  *run(input, context) {
    const row = yield* storeRunner({ ...input, place: input.place ?? placeOfHost(input.host) }, context);
    if (input.replaces !== undefined) yield* replaceRunner(input.replaces, row, context);
    return row;
  },
});

type Registration = z.output<typeof RegisterInput> & { readonly place: string };

/** Adds the runner of a boot id, or updates it. */
const storeRunner = step(function* (input: Registration, context: Context): Body<Row> {
  const { changed, counted } = context;
  const before = yield* first<Row>(sql`SELECT * FROM runners WHERE boot_id = ${input.bootId} ${forUpdate}`);
  if (before?.state === "gone") {
    const message = `the runner with the boot id ${input.bootId} is gone: register with a new boot id`;
    invalidTransition("runner", "gone", message);
  }
  const row = yield* before === undefined ? insertRunner(input, context) : updateRunner(before, input, context);
  // When two transactions find no row, one of them adds it, and the other then finds it.
  if (row === undefined) return yield* storeRunner(input, context);
  counted("runner", before?.state, "online");
  const { id, version, name, host, place, pid } = row;
  const detail = before === undefined ? { name, host, place, pid } : changedFields(changeable, before, row);
  if (version !== before?.version) changed({ entity: "runner", id, op: "register", version, detail });
  return row;
});

/** Adds a runner, or returns undefined when another transaction has added one with this boot id. */
const insertRunner = step(function* (input: Registration, { now }: Context) {
  return yield* first<Row>(sql`
    INSERT INTO runners (
      id,
      name,
      boot_id,
      host,
      place,
      pid,
      labels,
      state,
      heartbeat_at,
      expires_at,
      created_at,
      updated_at
    ) VALUES (
      ${input.id},
      ${input.name},
      ${input.bootId},
      ${input.host},
      ${input.place},
      ${input.pid},
      ${input.labels},
      'online',
      ${now},
      ${after(now, input.ttlMs)},
      ${now},
      ${now}
    )
    ON CONFLICT (boot_id) DO NOTHING
    RETURNING *`);
});

/** Renews a locked runner that registers again, with the fields that it has now. */
const updateRunner = step(function* (before: Row, input: Registration, { now, wake }: Context) {
  const isRepeated = changedFields(changeable, before, { ...input, state: "online" }) === undefined;
  // A call that waits knows the former labels and the former place.
  if (before.labels !== input.labels || before.place !== input.place) wake(runnerTopic(before.id));
  return yield* one<Row>(sql`
    UPDATE runners SET
      name = ${input.name},
      host = ${input.host},
      place = ${input.place},
      pid = ${input.pid},
      labels = ${input.labels},
      state = 'online',
      heartbeat_at = ${now},
      expires_at = ${after(now, input.ttlMs)},
      version = version + ${isRepeated ? 0 : 1},
      updated_at = ${isRepeated ? new Date(before.updated_at) : now}
    WHERE id = ${before.id}
    RETURNING *`);
});

const HeldLeases = z
  .array(z.strictObject({ id: Id, fence: Fence }))
  .max(1_000)
  .default([]);

export const Heartbeat = record({
  expiresAt: time,
  /** The reported leases that the runner no longer holds: it must stop their work at once and touch nothing. */
  lost: listOf(record({ kind: oneOf(["worktree", "command"]), id: textValue, fence: integer })),
  /** The commands that the runner must stop and finish: they are over their timeout, or were cancelled. */
  cancel: listOf(textValue),
});

/**
 * Renews a runner and all leases that it holds, and reports which leases it has lost and which commands to cancel. A
 * lease whose time has passed is renewed too, unless it was taken meanwhile.
 *
 * Input    worktrees, commands: the leases that the runner holds. ttlMs: the time until the runner and its leases
 *          expire
 * Result   expiresAt: the new expiry. lost: the reported leases that the runner no longer holds. cancel: the commands
 *          that it must stop, because they are over their timeout or were cancelled; their leases are renewed, and they
 *          are listed until they are finished. After limits.stopGraceMs, the store ends them by force
 * Fails    not_found | invalid_transition when the runner is gone: register again
 * Effect   the expiry of the runner and of each lease; no row of changes, unless a stalled runner is online again
 * Cost     2 statements, and 1 by primary key for each lease; lane urgent
 */
export const heartbeat = operation({
  access: "write",
  lane: "urgent",
  input: z.strictObject({ runnerId: Id, worktrees: HeldLeases, commands: HeldLeases, ttlMs: LeaseTtl.default(60_000) }),
  output: Heartbeat,
  errors: ["not_found", "invalid_transition"],
  *run({ runnerId, worktrees, commands, ttlMs }, context) {
    const { now } = context;
    const expiresAt = after(now, ttlMs);
    const renewed = yield* change(sql`
      UPDATE runners SET
        heartbeat_at = ${now},
        expires_at = ${expiresAt}
      WHERE id = ${runnerId} AND state IN ('online', 'draining')`);
    if (renewed === 0) yield* reviveRunner(yield* lockRunner(runnerId), expiresAt, context);
    const lostCommands: { kind: "command"; id: string; fence: number }[] = [];
    const cancel: string[] = [];
    for (const { id, fence } of inOrderOfIds(commands)) {
      const renewed = yield* renewCommand({ id, fence }, runnerId, expiresAt, now);
      if (renewed === undefined) lostCommands.push({ kind: "command", id, fence });
      else if (renewed.mustStop) cancel.push(id);
    }
    const lostWorktrees: { kind: "worktree"; id: string; fence: number }[] = [];
    for (const { id, fence } of inOrderOfIds(worktrees)) {
      const stillHeld = yield* change(sql`
        UPDATE worktrees SET lease_expires_at = ${expiresAt}
        WHERE id = ${id} AND fence = ${fence} AND lease_runner_id = ${runnerId}`);
      if (stillHeld === 0) lostWorktrees.push({ kind: "worktree", id, fence });
    }
    return { expiresAt: expiresAt.getTime(), lost: [...lostWorktrees, ...lostCommands], cancel };
  },
});

/**
 * Drains a runner: it finishes its commands and gets no more. It may still lease worktrees for the commands that it
 * runs. Repeating the call changes nothing.
 *
 * Fails    not_found | invalid_transition when the runner is gone
 */
export const drain = operation({
  access: "write",
  input: z.strictObject({ runnerId: Id }),
  output: Runner,
  errors: ["not_found", "invalid_transition"],
  *run({ runnerId }, { now, changed, wake, counted }) {
    const before = yield* lockRunner(runnerId);
    if (before.state === "draining") return before;
    // A waiting claim of this runner runs again, and fails.
    wake(runnerTopic(runnerId));
    const row = yield* one<Row>(sql`
      UPDATE runners SET
        state = 'draining',
        version = version + 1,
        updated_at = ${now}
      WHERE id = ${runnerId}
      RETURNING *`);
    counted("runner", before.state, "draining");
    changed({ entity: "runner", id: runnerId, op: "drain", version: row.version });
    return row;
  },
});

/**
 * Returns one runner.
 *
 * Fails    not_found
 * Cost     1 statement by primary key
 */
export const get = operation({
  access: "read",
  input: z.strictObject({ runnerId: Id }),
  output: Runner,
  errors: ["not_found"],
  *run({ runnerId }) {
    return yield* getRow("runner", runnerId);
  },
});

/**
 * Lists runners. A row must match all filters that are present.
 *
 * Cost     1 statement along an index. With name and state, 2 statements that read at most 5 000 rows
 */
export const list = operation({
  access: "read",
  input: listInput("runner", { state: oneOrMore(runnerStates), name: Name.optional() }),
  output: page(Runner),
  errors: [],
  *run(input) {
    return yield* listPage("runner", input, {
      filters: { name: filter(sql`name`, input.name), state: filter(sql`state`, input.state) },
      indexes: [["name"], ["state"]],
    });
  },
});

/** Renews a locked runner that showed a sign of life. One that was stalled is online again. */
const reviveRunner = step(function* (before: Row, expiresAt: Date, { now, changed, counted }: Context) {
  const returns = before.state === "stalled";
  // SQLite writes the indexes of every column that an UPDATE names, even if its value stays.
  const online = sql`
      state = 'online',
      version = version + 1,
      updated_at = ${now},`;
  const row = yield* one<Row>(sql`
    UPDATE runners SET
      ${returns ? online : empty}
      heartbeat_at = ${now},
      expires_at = ${expiresAt}
    WHERE id = ${before.id}
    RETURNING *`);
  counted("runner", before.state, row.state);
  if (returns) changed({ entity: "runner", id: row.id, op: "online", version: row.version });
  return row;
});

/**
 * Locks and returns a runner that claims, which is a sign of life too (D-083): it is alive for at least half of
 * `ttlMs`. A claim that waits runs often, so it only writes when less than that is left, and then extends to `ttlMs`.
 * Also tells whether the time of a command has come, in the same statement, because every claim asks.
 */
export const lockClaimingRunner = step(function* (runnerId: string, ttlMs: number, context: Context) {
  const { now } = context;
  const found = yield* first<Row & { readonly has_due: number | boolean }>(sql`
    SELECT runners.*, EXISTS (SELECT 1 FROM sessions WHERE due_at IS NOT NULL AND due_at <= ${now}) AS has_due
    FROM runners WHERE id = ${runnerId} ${forUpdate}`);
  const { has_due, ...row } = found ?? notFound("runner", runnerId);
  requireNotGone(row);
  const isAlive = row.state !== "stalled" && row.expires_at >= after(now, ttlMs / 2).getTime();
  const runner = isAlive || row.state === "draining" ? row : yield* reviveRunner(row, after(now, ttlMs), context);
  return { runner, hasDue: Boolean(has_due) };
});

/** Locks and returns a runner, or fails with `invalid_transition` when it is gone. */
export const lockRunner = step(function* (runnerId: string) {
  const row = yield* lockRow("runner", runnerId);
  requireNotGone(row);
  return row;
});

function requireNotGone({ id, state }: Row): void {
  if (state === "gone") invalidTransition("runner", "gone", `runner ${id} is gone: register it again`);
}
