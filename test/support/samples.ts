// Valid inputs for every operation, found from its schema, for tests that walk over the whole table.
import assert from "node:assert/strict";
import { z } from "zod";
import { newId } from "../../src/index.ts";
import { formatCursor } from "../../src/model/cursors.ts";
import { createSecret, formatToken } from "../../src/model/tokenText.ts";
import type { AnyOperation } from "../../src/operation.ts";
import { tables } from "../../src/operations/rows.ts";

/** Values of which each field of a simple kind accepts one. Those that fit only few fields stand first. */
const candidates = (): readonly unknown[] => [
  newId(),
  "0123456789abcdef0123456789abcdef01234567",
  "0".repeat(64),
  "file:///srv/a",
  "/srv/a",
  "a",
  "2026-11-28",
  1,
  true,
  0,
  new Date(Date.now() + 3_600_000),
  new Uint8Array([1, 2]),
];

/** Fields that a rule over several fields, or over the content of a text, asks for. */
const corrections: Readonly<Record<string, () => Record<string, unknown>>> = {
  "worktrees.reserve": () => ({ owner: "a" }),
  "worktrees.evict": () => ({ owner: "a" }),
  "environments.acquire": () => ({ owner: "a" }),
  "environments.evict": () => ({ maxBytes: 0 }),
  "worktrees.evictUnused": () => ({ owner: "a" }),
  "commands.finish": () => ({ exitCode: 0, signal: null }),
  "logs.read": () => ({ line: undefined, lastLines: undefined }),
  "logs.follow": () => ({ line: undefined, lastLines: undefined }),
  "logs.followSession": () => ({ after: "0.0", start: "beginning" }),
  "logs.timeline": () => ({ since: undefined }),
  "logs.mark": () => ({ phase: "run", commandId: newId(), fence: 1 }),
  "debug.history": () => ({ last: undefined }),
  "debug.setBreakpoints": () => ({ sourcePath: "/srv/a.js" }),
  "tokens.check": () => ({ operation: "sessions.get" }),
  "tokens.verify": () => ({ token: formatToken("personal", createSecret().secret) }),
};

/** Returns an input that the operation accepts: with `all`, it has every field that a sample is found for. */
export function sampleInput(name: string, { inputSchema }: AnyOperation, all = false): Record<string, unknown> {
  const sample: Record<string, unknown> = { ...(sampleOf(inputSchema, all) as object), ...corrections[name]?.() };
  if (all && name.endsWith(".list")) sample.cursor = sampleCursor(inputSchema, { ...sample, cursor: undefined });
  return sample;
}

/** Returns a cursor that a list accepts with this input. Fails unless a list accepts only its own cursors. */
export function sampleCursor(schema: z.ZodObject, input: object): string {
  const parsed = schema.parse(input);
  const cursors = Object.keys(tables)
    .map((list) => formatCursor(list, parsed, { at: 1, id: newId() }))
    .filter((cursor) => schema.safeParse({ ...input, cursor }).success);
  assert.equal(cursors.length, 1, "the cursor of one list is accepted");
  return cursors[0] as string;
}

/** Returns a value that the schema accepts, or undefined when none is found. */
function sampleOf(schema: z.ZodType, all: boolean): unknown {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodNullable)
    return all ? sampleOf(schema.unwrap() as z.ZodType, all) : undefined;
  if (schema instanceof z.ZodPipe) return sampleOf(schema.in as z.ZodType, all);
  if (schema instanceof z.ZodUnion) return sampleOf(schema.options[0] as z.ZodType, all);
  if (schema instanceof z.ZodEnum) return schema.options[0];
  if (schema instanceof z.ZodLiteral) return [...schema.values][0];
  if (schema instanceof z.ZodArray) return [sampleOf(schema.element as z.ZodType, all)];
  if (schema instanceof z.ZodRecord) return { a: sampleOf(schema.valueType as z.ZodType, all) };
  if (schema instanceof z.ZodAny || schema instanceof z.ZodUnknown) return { at: new Date(0) };
  if (!(schema instanceof z.ZodObject)) return candidates().find((value) => schema.safeParse(value).success);
  const fields = Object.entries(schema.shape).map(([name, field]) => [name, sampleOf(field as z.ZodType, all)]);
  return Object.fromEntries(fields.filter(([, value]) => value !== undefined));
}
