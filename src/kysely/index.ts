// The entry `debug-server-db/kysely`; re-exports only. `openKysely` needs the package kysely.
export { parseJson } from "../model/json.ts";
export type * from "./database.ts";
export { type KyselyOptions, openKysely, type ReadingKysely } from "./openKysely.ts";
