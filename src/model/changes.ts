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
