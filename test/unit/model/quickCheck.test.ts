// The quick check of inputs: it accepts nothing that Zod refuses, returns what Zod returns, and does not leave ordinary
// inputs to Zod.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { z } from "zod";
import { idPattern, newId } from "../../../src/model/ids.ts";
import { quickCheck, unsure } from "../../../src/model/quickCheck.ts";
import { storedForm } from "../../../src/model/storedForm.ts";
import { servedOperations } from "../../../src/operations/table.ts";

const inputs = Object.entries(servedOperations).flatMap(([entity, verbs]) =>
  Object.entries(verbs).map(([verb, { inputSchema }]) => [`${entity}.${verb}`, inputSchema] as const),
);

const junk = fc.oneof(
  fc.constantFrom(
    undefined,
    null,
    true,
    "",
    "x",
    "\u0000",
    "\ud800",
    Number.NaN,
    1.5,
    -1,
    2 ** 53,
    [],
    {},
    new Date(0),
  ),
  fc.constantFrom(new Date(Number.NaN), new Uint8Array(1), new Uint8Array(0), new Map(), Object.create(null), 1n),
  fc.string(),
  fc.jsonValue(),
);

/** Generates values that the schema may accept, and others. Reads the schema by Zod's public fields. */
function valueFor(schema: z.ZodType): fc.Arbitrary<unknown> {
  const likely = likelyFor(schema);
  return fc.oneof({ arbitrary: likely, weight: 12 }, { arbitrary: junk, weight: 1 });
}

function likelyFor(schema: z.ZodType): fc.Arbitrary<unknown> {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault)
    return fc.option(valueFor(schema.def.innerType as z.ZodType), { nil: undefined });
  if (schema instanceof z.ZodNullable) return fc.option(valueFor(schema.def.innerType as z.ZodType), { nil: null });
  if (schema instanceof z.ZodPipe) return valueFor(schema.def.in as z.ZodType);
  if (schema instanceof z.ZodUnion) return fc.oneof(...schema.def.options.map((one) => valueFor(one as z.ZodType)));
  if (schema instanceof z.ZodEnum) return fc.constantFrom(...schema.options);
  if (schema instanceof z.ZodArray) return fc.array(valueFor(schema.def.element as z.ZodType), { maxLength: 3 });
  if (schema instanceof z.ZodRecord)
    return fc.dictionary(fc.string({ minLength: 1 }), valueFor(schema.valueType as z.ZodType));
  if (schema instanceof z.ZodBoolean) return fc.boolean();
  if (schema instanceof z.ZodNumber) {
    const { minValue, maxValue } = schema;
    const bounds = [minValue, maxValue].flatMap((bound) => (bound === null ? [] : [bound - 1, bound, bound + 1]));
    return fc.oneof(fc.constantFrom(0, 1, -0, ...bounds), fc.nat(), fc.integer());
  }
  if (schema instanceof z.ZodString)
    return fc.oneof(
      fc.constantFrom(newId(), "a".repeat(40), "f".repeat(64), "main", "a/b", "refs/heads/x", "é"),
      fc.string({ unit: "grapheme", minLength: 1 }),
    );
  if (schema instanceof z.ZodCustom)
    return fc.constantFrom(new Uint8Array(3), new Date(0), new Date(), Buffer.from("x"));
  if (schema instanceof z.ZodObject) return objectFor(schema);
  return fc.jsonValue();
}

function objectFor(schema: z.ZodObject): fc.Arbitrary<unknown> {
  const fields = Object.fromEntries(
    Object.entries(schema.shape).map(([name, one]) => [name, valueFor(one as z.ZodType)]),
  );
  const isRequired = ([, one]: [string, z.ZodType]) => !one.isOptional();
  const required = Object.entries(schema.shape as Record<string, z.ZodType>)
    .filter(isRequired)
    .map(([name]) => name);
  const object = fc.record(fields, { requiredKeys: required });
  return fc
    .tuple(
      object,
      fc.oneof({ arbitrary: fc.constant({}), weight: 9 }, { arbitrary: fc.constant({ unknown: 1 }), weight: 1 }),
    )
    .map(([value, more]) => ({ ...value, ...more }));
}

/** Replaces the ids that a default has created, which differ each time. */
function withoutNewIds(value: unknown, given: string): unknown {
  if (typeof value === "string") return idPattern.test(value) && !given.includes(value) ? "new" : value;
  if (Array.isArray(value)) return value.map((item) => withoutNewIds(item, given));
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, withoutNewIds(one, given)]));
}

describe("the quick check", () => {
  for (const [name, schema] of inputs)
    for (const [form, checked] of [
      ["", schema],
      [", as stored", storedForm(schema)],
    ] as const)
      it(`agrees with Zod about the input of ${name}${form}`, () => {
        const check = quickCheck(checked);
        fc.assert(
          fc.property(valueFor(checked), (value) => {
            const quick = check(value);
            if (quick === unsure) return;
            const { success, data } = checked.safeParse(value);
            assert.equal(success, true);
            const given = JSON.stringify(value, (_key, one) => (typeof one === "bigint" ? String(one) : one)) ?? "";
            assert.deepEqual(withoutNewIds(quick, given), withoutNewIds(data, given));
          }),
          { numRuns: 60 },
        );
      });

  const id = newId();
  const ordinary: Record<string, unknown> = {
    "logs.append": { commandId: id, fence: 1, offset: 0, data: new Uint8Array(1) },
    "commands.enqueue": { sessionId: id, commands: [{ argv: ["make"], env: { CI: "1" }, timeoutMs: 1_000 }] },
    "commands.claim": { runnerId: id },
    "commands.finish": { commandId: id, fence: 1, outcome: "failed", exitCode: 2, reason: "no" },
    "worktrees.reserve": { repositoryId: id, runnerId: id, path: "/srv/x" },
    "worktrees.release": { worktreeId: id, fence: 1, to: "clean" },
    "runners.heartbeat": { runnerId: id, worktrees: [{ id, fence: 1 }] },
    "sessions.get": { sessionId: id },
    "sessions.list": {},
  };
  for (const [name, input] of Object.entries(ordinary))
    it(`decides about an ordinary input of ${name} by itself`, () => {
      const schema = (inputs.find(([one]) => one === name) as (typeof inputs)[number])[1];
      assert.equal(schema.safeParse(input).error, undefined);
      assert.notEqual(quickCheck(schema)(input), unsure);
      assert.notEqual(quickCheck(storedForm(schema))(schema.parse(input)), unsure);
    });
});
