// Runs a program under a guardian, in a process or a thread that a test ends. It reports the ids of the program and, on
// Linux, of a process that has left its group. The lease holds for a time that is never renewed.
import { parentPort } from "node:worker_threads";
import { runCommand, startGuard } from "../../../src/runner/index.ts";

const [holdMs = "Infinity"] = process.argv.slice(2);
const lease = {
  signal: new AbortController().signal,
  lost: new AbortController().signal,
  isLost: false,
  remainingMs: () => Number(holdMs),
  onRenewed: () => () => undefined,
};
const leaver = process.platform === "linux" ? `setsid sh -c 'echo $$; exec sleep 60' &` : "";
await runCommand(["sh", "-c", `${leaver} echo $$; exec sleep 60`], {
  cwd: "/",
  env: { ...process.env, COMMAND_OF_TEST: `${process.pid}.${holdMs}` },
  marker: "COMMAND_OF_TEST",
  holdings: [lease],
  guard: await startGuard(),
  output: (_stream, data) => {
    const text = Buffer.from(data).toString();
    if (parentPort === null) process.stdout.write(text);
    else parentPort.postMessage(text);
  },
});
