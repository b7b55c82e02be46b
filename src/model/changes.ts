// Change: one row for each change of another row. The audit log and the change feed are these rows.
import { integer, json, list, nullable, record, row, text, time, type ValueOf } from "./codec.ts";

export const ChangeRow = row({
  seq: integer,
  at: time,
  entity: text,
  entityId: text,
  op: text,
  entityVersion: integer,
  fence: nullable(integer),
  actor: nullable(text),
  requestId: nullable(text),
  sessionId: nullable(text),
  detail: nullable(json()),
});
export type ChangeRow = ValueOf<typeof ChangeRow>;

export const ChangePage = record({ changes: list(ChangeRow), nextSeq: integer });

/** A page of an export, and the number with which the last page ends. */
export const ExportPage = record({ changes: list(ChangeRow), nextSeq: integer, end: integer });

/** A page that a consumer has taken: with the fencing token of its lease, or without changes and lease. */
export const ConsumedPage = record({
  changes: list(ChangeRow),
  nextSeq: integer,
  fence: nullable(integer),
  expiresAt: nullable(time),
});
