// The entry `debug-server-db/opentelemetry`; re-exports only. It needs the package @opentelemetry/api.
export { type InstrumentOptions, instrumentStores } from "./instrumentStores.ts";
