// Environment: what one builder makes from the dependencies of a repository, such as installed packages, for all that have
// the same hash in the same place.
//
//   building* -> ready | failed                          * lease columns set
//   failed -> building*
//
// Every lease has the next fencing token. When the lease of a builder expires, the environment has failed. One that is
// evicted or deleted leaves no row.
import { boolean, integer, nullable, oneOf, type RawOf, record, row, text, time, type ValueOf } from "./codec.ts";
import { stamps } from "./common.ts";
import { environmentStates } from "./vocabulary.ts";

export const Environment = row({
  id: text,
  repositoryId: text,
  /** The place in which it can be used; empty when nobody has named one, or when all can use it. */
  place: text,
  /** The hash of the dependencies, chosen by those who build. */
  hash: text,
  state: oneOf(environmentStates),
  /** The uri of what was built, and its size, once it is ready. */
  uri: nullable(text),
  sizeBytes: nullable(integer),
  /** True for an environment that is never evicted. */
  pinned: boolean,
  fence: integer,
  leaseRunnerId: nullable(text),
  leaseOwner: nullable(text),
  leasedAt: nullable(time),
  leaseExpiresAt: nullable(time),
  readyAt: nullable(time),
  /** The number of times in a row that it could not be built, and the reason of the last time. */
  failures: integer,
  lastError: nullable(text),
  lastUsedAt: time,
  /** The number of times that it was acquired. */
  useCount: integer,
  ...stamps,
});
export type Environment = ValueOf<typeof Environment>;
export type EnvironmentRow = RawOf<typeof Environment>;

export const AcquiredEnvironment = record({
  environment: Environment,
  /** The lease of the caller, who builds the environment. Null when it is ready. */
  lease: nullable(record({ fence: integer, expiresAt: time })),
});
export type AcquiredEnvironment = ValueOf<typeof AcquiredEnvironment>;
