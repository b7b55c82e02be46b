// The warnings of a store without a listener: which events make one, and how often.
import assert from "node:assert/strict";
import { it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { StoreEvent } from "../../src/events.ts";
import { warnOfEvents } from "../../src/eventWarnings.ts";

interface Warned {
  readonly text: string;
  readonly options: object;
}

function record(t: TestContext): readonly Warned[] {
  const warned: Warned[] = [];
  t.mock.method(process, "emitWarning", (text: string, options: object) => void warned.push({ text, options }));
  return warned;
}

const fault = (code: string, message: string): StoreEvent => ({ type: "fault", code, message, cause: "Error: disk" });

it("warns of what is logged as a warning or an error, with its details, and of nothing else", (t) => {
  const warned = record(t);
  const warn = warnOfEvents();
  warn({ type: "opened", epoch: 1 });
  warn(fault("io_error", "the disk failed"));
  warn({ type: "second_server", pid: 7, host: "here" });
  warn({ type: "pruned", rows: {}, heldBy: [] });
  warn({ type: "thread_died", message: "it ended" });
  assert.deepEqual(warned, [
    {
      text: "debug-server-db: fault: code io_error: the disk failed",
      options: { type: "StoreWarning", code: "fault", detail: "Error: disk" },
    },
    {
      text: "debug-server-db: second server: pid 7: host here",
      options: { type: "StoreWarning", code: "second_server" },
    },
    { text: "debug-server-db: thread died: it ended", options: { type: "StoreWarning", code: "thread_died" } },
  ]);
});

it("counts events of a kind that follow, and shows them together once in a while", async (t) => {
  const warned = record(t);
  const everyMs = 60;
  const warn = warnOfEvents(everyMs);
  for (let index = 0; index < 10; index++) warn(fault("io_error", `failure ${index}`));
  warn(fault("corrupt", "another kind"));
  const texts = () => warned.map(({ text }) => text.replace("debug-server-db: fault: ", ""));
  assert.deepEqual(texts(), ["code io_error: failure 0", "code corrupt: another kind"]);
  await sleep(2.5 * everyMs);
  assert.deepEqual(texts().slice(2), ["9 times within 0 s, the last time: code io_error: failure 9"]);
  await sleep(2 * everyMs);
  warn(fault("io_error", "again"));
  assert.deepEqual(texts().slice(3), ["code io_error: again"]);
});
