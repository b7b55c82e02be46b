// The time that the upkeep of a file takes: a small share, and none while many calls wait.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startUpkeep } from "../../../src/actor/upkeep.ts";
import { until } from "../../system/faults/until.ts";

/** Takes this time, as a step does. */
function spend(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}

test("a step is followed by a pause, so that the steps take the share of the time that the limit allows", async () => {
  const startedMs: number[] = [];
  const stop = startUpkeep(
    {
      look: () => true,
      shrink() {
        startedMs.push(performance.now());
        spend(2);
        return startedMs.length < 5;
      },
    },
    { upkeepEveryMs: 1_000, upkeepPercent: 10 },
    () => false,
  );
  await until(() => startedMs.length === 5);
  stop();
  const spans = startedMs.slice(1).map((at, index) => at - (startedMs[index] as number));
  assert.ok(Math.min(...spans) >= 19, `${spans}`);
});

test("no step is taken while many calls wait, and the steps go on afterwards", async () => {
  let steps = 0;
  let isBusy = true;
  let looks = 0;
  let asked = 0;
  const stop = startUpkeep(
    {
      look: () => {
        looks++;
        return true;
      },
      shrink() {
        steps++;
        return true;
      },
    },
    { upkeepEveryMs: 1, upkeepPercent: 50 },
    () => {
      asked++;
      return isBusy;
    },
  );
  await until(() => asked > 3);
  assert.deepEqual({ looks, steps }, { looks: 1, steps: 0 });
  isBusy = false;
  await until(() => steps > 3);
  stop();
  const stopped = steps;
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(steps, stopped);
});

test("nothing is looked at when the interval is 0", async () => {
  let looks = 0;
  const upkeep = {
    look: () => {
      looks++;
      return false;
    },
    shrink: () => false,
  };
  const limits = { upkeepEveryMs: 1, upkeepPercent: 10 };
  startUpkeep(upkeep, { ...limits, upkeepEveryMs: 0 }, () => false);
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(looks, 0);
  const stop = startUpkeep(upkeep, limits, () => false);
  await until(() => looks > 1);
  stop();
});
