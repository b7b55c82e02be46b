// Runners that are killed a hundred times on each engine.
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { testKills } from "./kills.ts";

testKills({ name: "a SQLite file", rounds: 100, threads: 0, url: async () => undefined });
testKills({
  name: "PostgreSQL",
  rounds: 100,
  threads: 2,
  async url(t) {
    const url = await newDatabase();
    t.after(() => dropDatabase(url));
    return url;
  },
});
