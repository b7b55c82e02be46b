// A process that acquires an environment, and builds it when its stdin says so.
import { once } from "node:events";
import { openStore } from "../../../src/index.ts";
import { type Building, build } from "./builder.ts";

const [url = "", building = ""] = process.argv.slice(2);
const store = await openStore({ url, limits: { lockMs: 60_000, callMs: 120_000, reapEveryMs: 0, rewakeMs: 600_000 } });
await build(
  store,
  JSON.parse(building) as Building,
  (line) => void process.stdout.write(`${line}\n`),
  () => once(process.stdin, "data"),
);
await store.close();
process.stdin.destroy();
