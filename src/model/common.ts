// The columns that every mutable row has.
import { integer, time } from "./codec.ts";

export const stamps = {
  /** The version for optimistic locking; every recorded change raises it by one. */
  version: integer,
  createdAt: time,
  updatedAt: time,
};
