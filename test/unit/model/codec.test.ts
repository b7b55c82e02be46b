// Codecs send rows as flat arrays, and the receiver gets values with camelCase names.
import assert from "node:assert/strict";
import { it } from "node:test";
import {
  boolean,
  integer,
  json,
  list,
  nullable,
  optional,
  page,
  record,
  row,
  text,
  time,
} from "../../../src/model/codec.ts";

it("a row's snake_case columns travel as an array and arrive as camelCase values", () => {
  const codec = row({ id: text, createdAt: time, needsScrub: boolean, sizeBytes: nullable(integer), labels: json() });
  const raw = { id: "a", created_at: 5, needs_scrub: 1, size_bytes: null, labels: '{"json":[1]}' };
  const wire = codec.toWire(raw);
  assert.deepEqual(wire, ["a", 5, 1, null, '{"json":[1]}']);
  assert.deepEqual(codec.fromWire(structuredClone(wire)), {
    id: "a",
    createdAt: new Date(5),
    needsScrub: true,
    sizeBytes: null,
    labels: [1],
  });
});

it("columns that the model does not name do not travel", () => {
  assert.deepEqual(row({ id: text }).toWire({ id: "a", secret: "s" } as { id: string }), ["a"]);
});

it("record, list, optional and page nest", () => {
  const codec = record({ rows: list(record({ at: time })), one: optional(time), two: optional(time) });
  const wire = codec.toWire({ rows: [{ at: 1 }, { at: 2 }], one: 3, two: undefined });
  assert.deepEqual(wire, [[[1], [2]], 3, undefined]);
  assert.deepEqual(codec.fromWire(structuredClone(wire)), {
    rows: [{ at: new Date(1) }, { at: new Date(2) }],
    one: new Date(3),
    two: undefined,
  });
  assert.deepEqual(page(integer).fromWire(page(integer).toWire({ items: [1], nextCursor: "c" })), {
    items: [1],
    nextCursor: "c",
  });
});

it("null and undefined are preserved", () => {
  assert.equal(nullable(time).fromWire(nullable(time).toWire(null)), null);
  assert.equal(optional(time).fromWire(optional(time).toWire(undefined)), undefined);
  assert.deepEqual(nullable(time).fromWire(0), new Date(0));
});
