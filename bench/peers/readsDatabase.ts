// A thread that holds a database and serves ports, with or without readers, and with a read that takes two seconds.
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { openSlowStore } from "../../test/support/slowStore.ts";

const { path, readers, limits } = workerData as { path: string; readers: number; limits: Record<string, number> };
const { serve } = openSlowStore({ path, readers, limits });
parentPort?.on("message", (port: MessagePort) => serve(port));
