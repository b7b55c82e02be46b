// Runners that are killed at random, a few times on each engine; kills.long.ts does it a hundred times.
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { testKills } from "./kills.ts";

testKills({ name: "a SQLite file", rounds: 3, threads: 0, url: async () => undefined });
testKills({
  name: "PostgreSQL",
  rounds: 3,
  threads: 2,
  async url(t) {
    const url = await newDatabase();
    t.after(() => dropDatabase(url));
    return url;
  },
});
