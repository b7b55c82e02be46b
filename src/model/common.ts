// Columns that every mutable row has.
import { integer, time } from "./codec.ts";

export const stamps = {
  /** Grows by one with every recorded change; the subject of optimistic locking. */
  version: integer,
  createdAt: time,
  updatedAt: time,
};
