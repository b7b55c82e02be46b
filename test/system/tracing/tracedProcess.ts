// Makes one call of a store in a file.
import { openStore } from "../../../src/index.ts";

const store = await openStore({ url: `sqlite:${process.argv[2]}` });
await store.repositories.upsert({ name: "demo" });
await store.close();
