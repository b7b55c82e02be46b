// The figures that a mailbox counts, and their sum over several mailboxes.
import assert from "node:assert/strict";
import { it } from "node:test";
import { Figures, sumFigures, sumOfMailboxes, WorkFigures } from "../../../src/actor/figures.ts";
import { Counts, sumDistributions } from "../../../src/model/distributions.ts";

it("figures count groups, and answers with their waits, in total and by lane", () => {
  const figures = new Figures();
  figures.countGroup(3);
  figures.countGroup(1);
  figures.countAnswer("normal", 4);
  figures.countAnswer("urgent", 7);
  figures.countAnswer("normal", 2);
  figures.countBusyRetry();
  figures.countClockJump();
  assert.deepEqual(figures.totals(), {
    groups: 2,
    calls: 4,
    groupCallsMax: 3,
    waitMsTotal: 13,
    waitMsMax: 7,
    busyRetries: 1,
    clockJumps: 1,
  });
  assert.deepEqual(figures.lanes({ urgent: 0, normal: 5, background: 6 }), {
    urgent: { queued: 0, calls: 1, waitMsTotal: 7, waitMsMax: 7 },
    normal: { queued: 5, calls: 2, waitMsTotal: 6, waitMsMax: 4 },
    background: { queued: 6, calls: 0, waitMsTotal: 0, waitMsMax: 0 },
  });
});

it("the sum of figures adds counts up, and takes the largest of the maxima", () => {
  assert.deepEqual(
    sumFigures([
      { calls: 1, waitMsMax: 5 },
      { calls: 2, waitMsMax: 9 },
      { calls: 4, waitMsMax: 3 },
    ]),
    { calls: 7, waitMsMax: 9 },
  );
  assert.deepEqual(sumFigures([]), {});
});

it("a value belongs to the first part whose bound it does not exceed", () => {
  const counts = new Counts([1, 10, 100]);
  for (const value of [0, 1, 1.5, 10, 100, 100.5, 1e9]) counts.add(value);
  assert.deepEqual(counts.distribution(), { upTo: [1, 10, 100], counts: [2, 2, 1, 2], sum: 1e9 + 213 });
});

it("a distribution that was given away does not change", () => {
  const counts = new Counts([1]);
  const before = counts.distribution();
  counts.add(0.5);
  assert.deepEqual(
    [before.counts, counts.distribution().counts],
    [
      [0, 0],
      [1, 0],
    ],
  );
});

it("the sum of distributions adds up parts and sums", () => {
  const of = (...counts: readonly number[]) => ({ upTo: [1, 2], counts, sum: counts.length });
  assert.deepEqual(sumDistributions([of(1, 2, 3), of(10, 0, 30)]), { upTo: [1, 2], counts: [11, 2, 33], sum: 6 });
});

it("figures count the sizes of groups, the times of COMMITs, and the waits of each lane", () => {
  const all = [new Figures(), new Figures()] as const;
  const [figures, other] = all;
  figures.countGroup(3);
  figures.countCommit(0.2);
  figures.countAnswer("urgent", 7);
  other.countGroup(1_000);
  other.countCommit(20_000);
  const { groupCalls, commitMs, waitMs } = sumOfMailboxes(all.map((one) => one.distributions()));
  const found = ({ upTo, counts }: typeof groupCalls) =>
    counts.flatMap((count, part) => (count === 0 ? [] : [upTo[part] ?? "more"]));
  assert.deepEqual([found(groupCalls), groupCalls.sum], [[4, "more"], 1_003]);
  assert.deepEqual([found(commitMs), commitMs.sum], [[0.25, "more"], 20_000.2]);
  assert.deepEqual([found(waitMs.urgent), found(waitMs.normal), waitMs.urgent.sum], [[10], [], 7]);
});

it("a server counts the times of commands, and what has ended", () => {
  const work = new WorkFigures();
  work.measure({ what: "commandStart", ms: 40 });
  work.measure({ what: "command", ms: 2_000, outcome: "failed" });
  work.countMoved({ entity: "command", state: "failed", amount: 1 });
  work.countMoved({ entity: "command", state: "cancelled", amount: 3 });
  work.countMoved({ entity: "session", state: "expired", amount: 1 });
  for (const state of ["running", "queued", "toString"]) work.countMoved({ entity: "command", state, amount: 1 });
  work.countMoved({ entity: "runner", state: "gone", amount: 1 });
  const { commandStartMs, commandMs } = work.distributions();
  assert.deepEqual([commandStartMs.sum, commandMs.failed.sum, commandMs.succeeded.sum], [40, 2_000, 0]);
  assert.deepEqual(work.ended(), {
    commands: { succeeded: 0, failed: 1, timed_out: 0, cancelled: 3, lost: 0 },
    sessions: { completed: 0, failed: 0, cancelled: 0, expired: 1 },
  });
});
