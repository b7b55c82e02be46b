// Pruning: the removal of what retention keeps no longer, in steps of a few milliseconds. A server does it by itself; on
// demand it happens at once. On the wire these operations belong to `maintenance`.
import { z } from "zod";
import type { Context } from "../context.ts";
import { Pruned } from "../model/retention.ts";
import { type RetentionKind, retentionKinds } from "../model/vocabulary.ts";
import { fail, operation } from "../operation.ts";
import { type Body, step } from "../sql.ts";
import { walkReadyArtifacts } from "./pruneArtifacts.ts";
import { walkChanges } from "./pruneFeed.ts";
import { sessionWalks } from "./pruneSessions.ts";
import { tableWalks } from "./pruneTables.ts";
import type { Position, Walk, Walked } from "./pruneWalk.ts";
import { readRetention } from "./retention.ts";
import { isHeldByAnother, takeUpkeepLease } from "./upkeepLease.ts";
import { walkUsage } from "./usage.ts";

const walks: Readonly<Record<RetentionKind, (walk: Walk) => Body<Walked>>> = {
  ...sessionWalks,
  ...tableWalks,
  readyArtifacts: walkReadyArtifacts,
  usage: walkUsage,
  changes: walkChanges,
};

/** The place of a step in its walk, and what the steps before it have found. */
const Cursor = z.strictObject({
  kind: z.enum(retentionKinds),
  position: z.strictObject({
    repositoryId: z.string().optional(),
    at: z.number().optional(),
    id: z.string().optional(),
    part: z.number().optional(),
    attempt: z.number().optional(),
    partOf: z.string().optional(),
  }),
  rows: z.partialRecord(z.enum(retentionKinds), z.number()),
  heldBy: z.array(z.string()),
});
type Cursor = z.output<typeof Cursor>;

/** The number of rows that one step looks at or removes. It takes a few milliseconds (D-034). */
const rowsPerStep = 256;

/**
 * Removes what retention keeps no longer (maintenance.setRetention), or tells what would go. Each call does a few
 * milliseconds of work, and the client repeats it until all is done. A server does the same by itself every
 * `limits.pruneEveryMs`.
 *
 * Input    kinds: only these kinds of rows. limit: the number of rows of a step. dryRun: removes nothing
 * Result   rows: the number of rows that went, by kind; of sessions and debug sessions without what belongs to them, of
 *          logs the number of attempts. heldBy: the consumers of the change feed that keep rows beyond changesMs. In a
 *          dry run, rows that go only because of others, such as worktrees of sessions that would go, do not count
 * Fails    invalid_input when `from` is not the `next` of an earlier step
 * Effect   whole chains go: a session with its commands, attempts, logs, artifacts and debug sessions. Pinned sessions
 *          stay with all of that, and so do sessions with a pinned artifact. A log that went has the state `pruned`.
 *          One row of changes for each step and kind, whose detail has the ids; and one for each artifact with a uri and
 *          each session with a patchUri of no recorded patch
 * Cost     at most `limit` rows; lane background
 */
export const prune = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({
    dryRun: z.boolean().default(false),
    kinds: z.array(z.enum(retentionKinds)).min(1).max(retentionKinds.length).optional(),
    limit: z.int().min(1).max(1_000).default(rowsPerStep),
    from: z.string().max(100_000).describe("`next` of the step before").optional(),
  }),
  output: Pruned,
  errors: ["invalid_input"],
  again: (input, { next }) => (next === undefined ? undefined : { ...input, from: next }),
  *run({ from, ...input }, context) {
    const pruned = yield* pruneStep({ ...input, cursor: parseCursor(from), mayRemove }, context);
    return answerOf(pruned);
  },
});

/**
 * Runs one step of a pass by which a server prunes, unless another server does. Each server calls it at intervals; no port
 * reaches it.
 *
 * Input    owner: the name of the server. from: `next` of the step before
 * Result   as maintenance.prune; without `next` when another server has the lease of upkeep
 */
export const pruneNext = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({ owner: z.string().max(100), from: z.string().max(100_000).optional() }),
  output: Pruned,
  errors: ["invalid_input"],
  *run({ owner, from }, context) {
    if (yield* isHeldByAnother(owner, context)) return answerOf({ rows: {}, heldBy: [], next: undefined });
    const plan = { dryRun: false, limit: rowsPerStep, cursor: parseCursor(from) };
    return answerOf(yield* pruneStep({ ...plan, mayRemove: () => takeUpkeepLease(owner, context) }, context));
  },
});

/** Lets a call on demand prune whoever else does: each row is removed by one of them. */
// biome-ignore lint/correctness/useYield: it asks no database.
const mayRemove = step(function* () {
  return true;
});

interface Plan {
  readonly dryRun: boolean;
  readonly kinds?: readonly RetentionKind[] | undefined;
  readonly limit: number;
  readonly cursor: Cursor | undefined;
  readonly mayRemove: Walk["mayRemove"];
}

/** Runs one step of a walk over the kinds. `next` is undefined after the last one, or when another server prunes. */
const pruneStep = step(function* (
  { dryRun, kinds = retentionKinds, limit, cursor, mayRemove }: Plan,
  context: Context,
) {
  const wanted = retentionKinds.filter((kind) => kinds.includes(kind));
  const settings = yield* readRetention();
  const rows: Partial<Record<RetentionKind, number>> = { ...cursor?.rows };
  const heldBy = new Set(cursor?.heldBy);
  let left = limit;
  let position: Position | undefined = cursor?.position;
  for (const kind of wanted.slice(cursor === undefined ? 0 : Math.max(0, wanted.indexOf(cursor.kind)))) {
    if (left <= 0) return { rows, heldBy: [...heldBy], next: { kind, position: {} }, refused: false };
    const walk = { position: position ?? {}, limit: left, dryRun, settings, context, mayRemove };
    const walked: Walked = yield* walks[kind](walk);
    if (walked.refused) return { rows, heldBy: [...heldBy], next: undefined, refused: true };
    rows[kind] = (rows[kind] ?? 0) + walked.rows;
    for (const name of walked.heldBy ?? []) heldBy.add(name);
    if (walked.next !== undefined)
      return { rows, heldBy: [...heldBy], next: { kind, position: walked.next }, refused: false };
    left -= walked.used;
    position = undefined;
  }
  return { rows, heldBy: [...heldBy], next: undefined, refused: false };
});

interface StepResult {
  readonly rows: Partial<Record<RetentionKind, number>>;
  readonly heldBy: string[];
  readonly next: Pick<Cursor, "kind" | "position"> | undefined;
}

/** Returns the answer of a step, in the form that a body returns. */
function answerOf({ rows, heldBy, next }: StepResult) {
  return {
    rows: JSON.stringify({ json: rows }),
    heldBy,
    next: next && JSON.stringify({ ...next, rows, heldBy } satisfies Cursor),
  };
}

function parseCursor(text: string | undefined): Cursor | undefined {
  if (text === undefined) return undefined;
  try {
    return Cursor.parse(JSON.parse(text));
  } catch {
    fail("invalid_input", {}, "from: it is not the `next` of an earlier step");
  }
}
