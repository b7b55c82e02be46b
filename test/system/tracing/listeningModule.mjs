// Loaded with --import into every thread of a process: prints what the channels say in the thread that opened no store.
import { subscribe } from "node:diagnostics_channel";
import { isMainThread, threadName } from "node:worker_threads";

for (const channel of ["serve", "group"])
  for (const event of ["start", "asyncEnd"])
    subscribe(`tracing:debug-server-db:${channel}:${event}`, (message) => {
      if (isMainThread || (message.operation ?? message.calls[0]?.operation) !== "repositories.upsert") return;
      process._rawDebug(
        JSON.stringify({ thread: threadName, channel, event, size: message.size ?? message.group?.size }),
      );
    });
