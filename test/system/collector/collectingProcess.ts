// A process that collects files, and stops just before it would acknowledge the first page, so that a test can kill it.
import { collectFiles, openStore } from "../../../src/index.ts";

const [url = "", folder = ""] = process.argv.slice(2);
const store = await openStore({ url, role: "visitor", limits: { fileGraceMs: 0 } });
const { files } = store;
const stopping = {
  ...files,
  acknowledge: () => {
    process.stdout.write("removed\n");
    // A timer keeps the process alive, so that it ends by the kill.
    return new Promise<never>(() => setInterval(() => undefined, 1_000));
  },
};
await collectFiles({ files: stopping }, { folders: [folder], once: true });
