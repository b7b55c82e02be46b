// The contenders by name. Those from other packages name what has to be installed for them.
import type { Contender } from "../cells/cell.ts";
import { connections } from "./connections.ts";
import { echo } from "./echo.ts";
import { plainjob } from "./plainjob.ts";
import { store } from "./store.ts";

export const contenders: Readonly<Record<string, Contender>> = {
  "debug-server-db": store,
  "connection per thread": connections,
  "Comlink echo and commit": echo,
  plainjob,
};
