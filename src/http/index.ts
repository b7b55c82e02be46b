// The public API of `debug-server-db/http`; re-exports only.
export {
  clientScopes,
  covers,
  fieldScopes,
  metricsScope,
  type OperationName,
  operationScopes,
  operationsOf,
  runnerScopes,
  viewerScopes,
} from "./access.ts";
export type { ConnectionInfo, Identify, Identity } from "./identity.ts";
export { type Address, isLocal, parseAddress, parseMode } from "./listen.ts";
export type { MeasuredStore } from "./metrics.ts";
export { type MetricsHandlerOptions, type MetricsOptions, metricsHandler } from "./metricsHandler.ts";
export { nodeHandler } from "./nodeHandler.ts";
export { type Problem, RequestError, type RequestFault, requestFaults, statusOf } from "./problems.ts";
export { type ServeStoreOptions, type StoreServer, serveStore } from "./serveStore.ts";
export {
  type Answered,
  type StoreHandler,
  type StoreHandlerOptions,
  storeHandler,
} from "./storeHandler.ts";
export type { WrongTokensOptions } from "./wrongTokens.ts";
