// The least that a call through Comlink and a commit can cost: an echo by a worker, and then an append by a connection of
// the calling thread itself. No such program exists; it is the sum that a lone call is compared with.
import { join } from "node:path";
import { MessageChannel, Worker } from "node:worker_threads";
import { openStore } from "../../src/index.ts";
import type { Contender } from "../cells/cell.ts";
import { day } from "../cells/cell.ts";
import { bytesInFile, runCommands } from "../setup.ts";

export const echo: Contender = {
  scenarios: ["lone"],
  thread: new URL("./echoThread.ts", import.meta.url),
  async prepare(cell, folder) {
    const path = join(folder, "echo.db");
    const store = await openStore({ url: `sqlite:${path}`, synchronous: "full" });
    const slots = await runCommands(store, cell.threads);
    await store.close();
    const server = new Worker(new URL("./echoServer.ts", import.meta.url));
    server.unref();
    const threads = slots.map((slot) => {
      const { port1, port2 } = new MessageChannel();
      server.postMessage(port1, [port1]);
      return { data: { path, port: port2, slot }, ports: [port2] };
    });
    return {
      threads,
      async finish() {
        await server.terminate();
        return bytesInFile(path) / day.bytes;
      },
    };
  },
};
