// Health: whether the store can take work, and what is in its way.
import { boolean, json, record, type ValueOf } from "./codec.ts";

export interface HealthChecks {
  /** Revisions of the schema: where the database is, and where this code needs it. */
  readonly schema: { readonly ok: boolean; readonly at: string; readonly head: string };
  /** The last write: how long ago, and the code of the error when it could not be stored; null while nothing was written. */
  readonly lastWrite: { readonly ok: boolean; readonly agoMs: number | null; readonly failed: string | null };
  /** How much more can be stored; null where nobody but the server knows, or nothing limits it. */
  readonly space: { readonly ok: boolean; readonly leftBytes: number | null };
  /** How full the fullest client's queue is. */
  readonly queue: { readonly ok: boolean; readonly percent: number };
}

export const Health = record({ ready: boolean, checks: json<HealthChecks>() });
export type Health = ValueOf<typeof Health>;
