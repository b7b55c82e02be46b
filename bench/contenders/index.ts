// The contenders by name. Those from other packages name what has to be installed for them.
import type { Contender } from "../cells/cell.ts";
import { connections } from "./connections.ts";
import { echo } from "./echo.ts";
import { graphileWorker } from "./graphileWorker.ts";
import { libraries } from "./libraries.ts";
import { pgBoss } from "./pgBoss.ts";
import { plainjob } from "./plainjob.ts";
import { store, storeOnPostgres } from "./store.ts";

export const contenders: Readonly<Record<string, Contender>> = {
  "debug-server-db": store,
  "debug-server-db on PostgreSQL": storeOnPostgres,
  "connection per thread": connections,
  "Comlink echo and commit": echo,
  plainjob,
  ...libraries,
  "graphile-worker": graphileWorker,
  "pg-boss": pgBoss,
};
