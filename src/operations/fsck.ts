// The check of the store: finds rows that break a rule which no constraint of the database holds, and repairs what follows
// from other rows. On the wire these operations belong to `maintenance`.
import { z } from "zod";
import { Checked, type Finding, Repaired } from "../model/findings.ts";
import { fail, operation } from "../operation.ts";
import { type Check, checkStep, type FoundRow, isPosition, type Position } from "./fsck/check.ts";
import { checkNames, checks } from "./fsck/checks.ts";

const CheckName = z.enum(checkNames as readonly [string, ...string[]]).describe("name of a check");
/** The size of the findings of one step: at most 100, of short texts. */
const resultBytes = () => 128 * 1024;
const From = z.string().max(2_000);

/**
 * Checks a part of the store, and returns where the next part begins. A step takes milliseconds, so that other calls do
 * not wait. Each row is judged as of one moment, so what changes between two steps is not a finding. Do not call it
 * within `atomically` after a write, because the changes of that write come last.
 *
 * Input    check: this one only, instead of all. Those that read the whole feed in one step run only by name. from: the
 *          `next` of the step before
 * Result   { findings, rows, skipped, next }: a finding has the name of the check, the id of the row, and what was found
 *          and expected. rows: how many were checked, once for each check. skipped: the checks of objects in the log
 *          archive, when there are some and the store was opened without it. Without `next`, all is checked
 * Fails    invalid_input when `from` is not one of this operation | io_error when the log archive does not answer
 * Cost     at most 3 statements for each check that the step begins, over at most 5 000 rows; lane background
 */
export const fsck = operation({
  access: "read",
  lane: "background",
  extent: () => "whole",
  input: z.strictObject({ check: CheckName.optional(), from: From.optional() }),
  output: Checked,
  errors: ["invalid_input"],
  resultBytes,
  // Rows whose changes are not written yet would look like a fault of the feed.
  readsChanges: true,
  *run({ check, from }, context) {
    let place = placeOf(check, from);
    const findings: Finding[] = [];
    const skipped: string[] = [];
    let [rows, spent] = [0, 0];
    while (place !== undefined && spent < 1 && findings.length === 0) {
      const { found, ...done } = yield* checkStep(place.check, place.after, context);
      if (done.isSkipped === true) skipped.push(place.check.name);
      findings.push(...found.map((row) => findingOf(place as Place, row)));
      rows += done.rows;
      spent += done.rows / place.check.rows;
      place = nextPlace(place, done.next, check);
    }
    return { findings, rows, skipped, next: place && formatPlace(place) };
  },
});

/**
 * Repairs what a check finds in a part of the store, as far as it follows from other rows, and returns where the next
 * part begins.
 *
 * Input    check: the check to repair. ids: only these findings. from: the `next` of the step before
 * Result   { repaired, left, rows, next }: `left` are findings that nothing in the store can repair
 * Fails    invalid_input when `from` is not one of this check
 * Effect   each repaired row gets a new version and a row of changes (`repair`), whose detail has the check and the
 *          finding; logs, counts of places and idempotency keys have neither
 * Cost     as fsck, and at most 4 statements by key for each finding; lane background
 */
export const repair = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({
    check: CheckName,
    ids: z.array(z.string().max(1_000)).max(500).optional(),
    from: From.optional(),
  }),
  output: Repaired,
  errors: ["invalid_input"],
  resultBytes,
  *run({ check, ids, from }, context) {
    const place = placeOf(check, from) as Place;
    const { found, rows, next } = yield* checkStep(place.check, place.after, context);
    const [repaired, left]: [Finding[], Finding[]] = [[], []];
    for (const row of found) {
      if (ids !== undefined && !ids.includes(row.finding)) continue;
      const isRepaired = place.check.repair !== undefined && (yield* place.check.repair(row, place.check, context));
      (isRepaired ? repaired : left).push(findingOf(place, row));
    }
    const then = nextPlace(place, next, check);
    return { repaired, left, rows, next: then && formatPlace(then) };
  },
});

/** The place of a step in the walk through all checks. */
interface Place {
  readonly check: Check;
  readonly after: Position;
}

/** The checks that run when none is named. */
const unnamed = checks.filter(({ isDeep = false }) => !isDeep);
const byName = new Map(checks.map((check) => [check.name, check]));

function placeOf(name: string | undefined, from: string | undefined): Place | undefined {
  if (from === undefined) {
    const check = name === undefined ? unnamed[0] : byName.get(name);
    return check && { check, after: check.walk.start };
  }
  const [, nameThere = "", position = ""] = /^([\w-]+) (\[.*\])$/.exec(from) ?? [];
  const check = byName.get(nameThere);
  const after = parsePosition(position);
  if (check === undefined || (name !== undefined && name !== nameThere) || !isPosition(check.walk, after))
    fail("invalid_input", {}, "from: expected the `next` of a step of the same check");
  return { check, after };
}

function parsePosition(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function formatPlace({ check, after }: Place): string {
  return `${check.name} ${JSON.stringify(after)}`;
}

function nextPlace({ check }: Place, next: Position | undefined, only: string | undefined): Place | undefined {
  if (next !== undefined) return { check, after: next };
  const following = only === undefined ? unnamed[unnamed.indexOf(check) + 1] : undefined;
  return following && { check: following, after: following.walk.start };
}

function findingOf({ check }: Place, { finding, found, expected }: FoundRow): Finding {
  return { check: check.name, id: finding, found, expected };
}
