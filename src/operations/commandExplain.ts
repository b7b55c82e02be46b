// Why a queued command has not started. It looks at what a claim looks at, by the same indexes, and changes nothing.
import { z } from "zod";
import type { RawOf } from "../model/codec.ts";
import type { CommandRow } from "../model/commands.ts";
import { Explanation, type WaitReason } from "../model/explained.ts";
import { Id } from "../model/fields.ts";
import {
  covers,
  keyAndValue,
  type LabelSet,
  type Labels,
  labelsMissing,
  labelsOf,
  runnerLabels,
} from "../model/labels.ts";
import type { WorktreeRow } from "../model/worktrees.ts";
import { operation } from "../operation.ts";
import { all, first, one, sql, step } from "../sql.ts";
import { coveredSets, isFree } from "./labelSets.ts";
import { findRow, getRow, type RowOf } from "./rows.ts";
import type { ReadySessionRow } from "./sessionState.ts";

type Reason = RawOf<typeof WaitReason>;

/** The runners that are looked at, and the sessions ahead that are counted. */
const runnersMax = 500;
const aheadMax = 1_000;

/**
 * Tells why a queued command has not started: what holds up the command at the head of its session's queue, and how many
 * commands come before it there. It says what holds now, so what the last reason names may be followed by another one.
 *
 * Result   { command, reasons }. reasons: each of a `kind` with its fields (WaitReason), none when the command is not
 *          queued. With `queue` alone, only busy runners hold it up
 * Fails    not_found
 * Cost     at most 9 statements, each by an index, and 1 for each set of labels of sessions that wait; they read at most 500
 *          runners and the keys of 1 000 sessions and commands
 */
export const explain = operation({
  access: "read",
  input: z.strictObject({ commandId: Id }),
  output: Explanation,
  errors: ["not_found"],
  extent: () => "page",
  *run({ commandId }, { now }) {
    const command = yield* getRow("command", commandId);
    if (command.state !== "queued") return { command, reasons: [] };
    const session = (yield* getRow("session", command.session_id)) as ReadySessionRow;
    const reasons: Reason[] = [];
    const head = yield* headOf(command);
    if (head.id !== commandId) {
      const before = yield* all(sql`
        SELECT id FROM commands
        WHERE session_id = ${session.id} AND state = 'queued' AND sequence < ${command.sequence}
        ORDER BY sequence LIMIT ${aheadMax}`);
      reasons.push({ kind: "predecessors", commands: before.length, commandId: head.id });
    }
    const { active_commands: active, max_parallel: maxParallel } = session;
    if (active >= maxParallel) reasons.push({ kind: "max_parallel", active, maxParallel });
    const isDue = head.not_before === null || head.not_before <= now.getTime();
    if (head.not_before !== null && !isDue)
      reasons.push({ kind: "not_before", commandId: head.id, at: head.not_before });
    const takers = yield* takersOf(session, head, now);
    reasons.push(...takers.reasons);
    const isNext = active < maxParallel && isDue && takers.reasons.length === 0;
    if (isNext) reasons.push({ kind: "queue", ahead: yield* countAhead(session, takers.has) });
    return { command, reasons };
  },
});

const headOf = step(function* ({ session_id }: CommandRow) {
  return yield* one<CommandRow>(sql`
    SELECT * FROM commands WHERE session_id = ${session_id} AND state = 'queued' ORDER BY sequence LIMIT 1`);
});

/**
 * Returns the reasons for which no runner claims from a session that is ready, and the labels that every runner has which
 * does.
 */
const takersOf = step(function* (session: ReadySessionRow, head: CommandRow, now: Date) {
  const { worktree_id, worktree_fence } = session;
  const worktree = yield* first<WorktreeRow>(sql`
    SELECT * FROM worktrees WHERE id = ${worktree_id} AND fence = ${worktree_fence} AND lease_expires_at IS NOT NULL`);
  if (worktree !== undefined) return yield* holderOf(worktree, head, now);
  const has = Object.fromEntries(
    labelsOf(head.requires).map((label) => [keyAndValue(label)[0], keyAndValue(label)[1] ?? ""]),
  );
  const runners = yield* all<Pick<RowOf["runner"], "labels">>(sql`
    SELECT labels FROM runners
    WHERE state = 'online' AND state <> 'gone' AND expires_at > ${now}
    ORDER BY expires_at DESC LIMIT ${runnersMax}`);
  if (runners.length === 0) return { has, reasons: [{ kind: "no_runner" }] satisfies Reason[] };
  return { has, reasons: labelReasons(head, runners.map(runnerLabels)) };
});

function labelReasons({ id, requires }: CommandRow, runners: readonly (Labels | undefined)[]): readonly Reason[] {
  if (runners.some((has) => covers(has, requires))) return [];
  const missing = labelsOf(requires).filter((label) => !runners.some((has) => covers(has, label)));
  return [{ kind: "labels", commandId: id, requires, missing, runners: runners.length }];
}

/** Returns the reasons for which the holder of a session's worktree does not claim from it, and its labels. */
const holderOf = step(function* (worktree: WorktreeRow, head: CommandRow, now: Date) {
  const { id, lease_owner, lease_runner_id } = worktree;
  const runner = lease_runner_id === null ? undefined : yield* findRow("runner", lease_runner_id);
  const has = runner && runnerLabels(runner);
  const isAlive = runner?.state === "online" && runner.expires_at > now.getTime();
  const missing = runner === undefined ? [] : labelsMissing(head.requires, has);
  const holder = { worktreeId: id, owner: lease_owner ?? "", runnerId: runner?.id ?? null };
  const runnerState = runner === undefined ? null : runner.state === "online" && !isAlive ? "stalled" : runner.state;
  const reasons: readonly Reason[] =
    isAlive && missing.length === 0 ? [] : [{ kind: "worktree", ...holder, runnerState, missing }];
  return { has: has ?? {}, reasons };
});

/** Counts the sessions without a worktree that a runner with these labels claims from before. */
const countAhead = step(function* ({ id, ready_at, due_at }: ReadySessionRow, has: Labels) {
  // One whose time has come is made ready by the next claim.
  const readyAt = new Date(ready_at ?? due_at ?? 0);
  const sets: readonly LabelSet[] = ["", ...(yield* coveredSets(has)).map(({ requires }) => requires)];
  let ahead = 0;
  for (const requires of sets) {
    const before = yield* all(sql`
      SELECT id FROM sessions
      WHERE ${isFree} AND ready_requires = ${requires} AND (ready_at, id) < (${readyAt}, ${id})
      ORDER BY ready_at, id LIMIT ${aheadMax - ahead}`);
    ahead += before.length;
    if (ahead >= aheadMax) break;
  }
  return ahead;
});
