// The figures that a mailbox counts, and their sum over several mailboxes.
import assert from "node:assert/strict";
import { it } from "node:test";
import { Figures, sumFigures } from "../../../src/actor/figures.ts";

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
