// Makes the threads of this process run from the bundles that bundleWorkers.ts has made. Plain JavaScript, because every
// process of the tests begins with it.
import { syncBuiltinESMExports } from "node:module";
import workerThreads from "node:worker_threads";

const { Worker } = workerThreads;
const bundles = process.env.TEST_WORKERS;

if (bundles !== undefined) {
  const sources = new URL("../../workers/", import.meta.url).href;
  workerThreads.Worker = class extends Worker {
    constructor(program, options) {
      const name = String(program);
      const isOurs = name.startsWith(sources) && !name.endsWith("/runner.ts");
      super(isOurs ? new URL(name.slice(sources.length).replace(/\.ts$/, ".mjs"), bundles) : program, options);
    }
  };
  syncBuiltinESMExports();
}
