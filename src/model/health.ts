// Health: whether the store can accept work, and what prevents it.
import { boolean, json, record, type ValueOf } from "./codec.ts";

export interface HealthChecks {
  /** The schema revision of the database (`at`) and the one that this code needs (`head`). */
  readonly schema: { readonly ok: boolean; readonly at: string; readonly head: string };
  /** The age of the last write, and the error code if it could not be stored. Both are null before the first write. */
  readonly lastWrite: { readonly ok: boolean; readonly agoMs: number | null; readonly failed: string | null };
  /**
   * The reason why the database file takes no writes: `gone`, `replaced` or `wal` when it was lost (`file_lost`),
   * `read_only`; null when it does, and on PostgreSQL.
   */
  readonly file: { readonly ok: boolean; readonly problem: string | null };
  /** The bytes that can still be stored; null when there is no limit or only the database server knows it. */
  readonly space: { readonly ok: boolean; readonly leftBytes: number | null };
  /** The fill level of the fullest client queue, in percent. */
  readonly queue: { readonly ok: boolean; readonly percent: number };
}

export const Health = record({ ready: boolean, checks: json<HealthChecks>() });
export type Health = ValueOf<typeof Health>;
