// Runs the commands that the parent sends, each as the command line does as a process, and sends back their exit codes.
// The parent reads no standard output.
import { once } from "node:events";
import { main } from "../../../src/cli/main.ts";

const [calls] = (await once(process, "message")) as [readonly (readonly string[])[]];
for (const args of calls) {
  const ended = main(args);
  // A server runs until it is told to end.
  if (args[0] === "serve") {
    while (process.listenerCount("SIGTERM") === 0) await new Promise(setImmediate);
    process.emit("SIGTERM", "SIGTERM");
  }
  await ended;
  // A write that fails does so in a later turn, and is then reported.
  await new Promise((resolve) => process.stdout.write("", resolve));
  process.send?.(process.exitCode);
  process.exitCode = 0;
  // Each run listens to them anew.
  for (const stream of [process.stdout, process.stderr]) stream.removeAllListeners("error");
}
process.disconnect();
