// Values of another realm count as what they are, in every field of every operation.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { callBytes } from "../../../src/load.ts";
import { capBody } from "../../../src/model/debugCaps.ts";
import { formatJson, parseJson } from "../../../src/model/json.ts";
import { defaultSecretNames, maskingOf } from "../../../src/model/masking.ts";
import { messageOf } from "../../../src/model/realms.ts";
import { hashRequest } from "../../../src/model/requestHash.ts";
import type { AnyOperation } from "../../../src/operation.ts";
import { servedOperations } from "../../../src/operations/table.ts";
import { outgoing } from "../../../src/outgoing.ts";
import { encode as encodeForPostgres } from "../../../src/postgres/statements.ts";
import { encode as encodeForSqlite } from "../../../src/sqlite/statements.ts";
import { openTestStore } from "../../../src/testing/index.ts";
import { errorOfOtherRealm, ofOtherRealm, rejectionOfOtherRealm } from "../../support/otherRealm.ts";
import { sampleInput } from "../../support/samples.ts";

const every = {
  list: [1, { at: new Date(5) }],
  at: new Date(0),
  map: new Map<unknown, unknown>([[new Date(1), { deep: new Set([new Map([["a", new Date(2)]])]) }]]),
  set: new Set<unknown>([new Date(3), "b", 10n]),
  url: new URL("https://example.org/a?b#c"),
  nothing: undefined,
  "a.b": { big: 2n ** 70n, "": Number.NaN },
};

describe("the input of every operation", () => {
  /** Operations that add secrets or ids to their input, which differ with each call. */
  const random = [
    "tokens.mint",
    "tokens.mintForSession",
    "tokens.rotate",
    "tokens.bootstrapAdmin",
    "debug.setBreakpoints",
  ];
  for (const [entity, verbs] of Object.entries(servedOperations)) {
    for (const [verb, operation] of Object.entries<AnyOperation>(verbs)) {
      const name = `${entity}.${verb}`;
      it(`${name} takes values of another realm`, () => {
        const local = withEveryJson(sampleInput(name, operation, true), operation);
        const foreign = ofOtherRealm(local);
        const [one, other] = [local, foreign].map((input) => outgoing(name, operation, input, {}));
        if (!random.includes(name)) assert.deepEqual(structuredClone(other?.wire), structuredClone(one?.wire));
        assert.equal(hashRequest(foreign), hashRequest(local));
        operation.decode(structuredClone(other?.wire));
        operation.decode(ofOtherRealm(one?.wire));
      });
    }
  }

  /** Replaces the samples of JSON by a value of every kind, where the operation accepts it. */
  function withEveryJson(input: Record<string, unknown>, { inputSchema }: AnyOperation): Record<string, unknown> {
    const filled = { ...input };
    for (const name of Object.keys(input)) if (inputSchema.shape[name]?.safeParse(every).success) filled[name] = every;
    return filled;
  }
});

describe("values of another realm", () => {
  it("JSON holds them, alone and among values of this realm", () => {
    assert.deepStrictEqual(parseJson(formatJson(ofOtherRealm(every))), every);
    const mixed = { ...every, foreign: ofOtherRealm(every), items: [ofOtherRealm(every)] };
    assert.deepStrictEqual(parseJson(formatJson(mixed)), { ...every, foreign: every, items: [every] });
    const within = (ofOtherRealm({ list: [] }) as { list: unknown[] }).list;
    within.push(new Date(7), 5n);
    assert.deepStrictEqual(parseJson(formatJson({ within })), { within: [new Date(7), 5n] });
  });

  it("JSON holds objects whose prototype has none, with all that is in them", () => {
    const odd = Object.assign(Object.create(Object.create(null)), { at: new Date(1), n: 3n });
    assert.deepStrictEqual(parseJson(formatJson({ odd })), { odd: { at: new Date(1), n: 3n } });
  });

  it("what cannot be stored is named", () => {
    for (const [value, kind] of [
      [ofOtherRealm(new Date(Number.NaN)), "an invalid Date"],
      [errorOfOtherRealm("e"), "a TypeError"],
      [ofOtherRealm(new Uint8Array(1)), "a Uint8Array"],
      [Object.create(Date.prototype), "a Date"],
      [Object.create(Object.create(Object.create(null))), "an Object"],
    ] as const)
      assert.throws(() => formatJson({ value }), { message: `JSON cannot contain ${kind}` });
    const { append } = servedOperations.logs;
    assert.throws(() => outgoing("logs.append", append, { ...sampleInput("logs.append", append), data: "text" }, {}), {
      message: /data: must be a Uint8Array, such as a Buffer/,
      code: "invalid_input",
    });
  });

  it("an object with the tag and the field of a URL is no URL", () => {
    const tagged = { href: "https://example.org/", [Symbol.toStringTag]: "URL" };
    assert.deepStrictEqual(parseJson(formatJson({ tagged })), { tagged: { href: "https://example.org/" } });
  });

  it("the size of bytes is theirs, and parameters of statements are dates", () => {
    assert.equal(
      callBytes("a", [ofOtherRealm(new Uint8Array(1_000))], undefined),
      callBytes("a", [new Uint8Array(1_000)], undefined),
    );
    const at = ofOtherRealm(new Date(5)) as Date;
    assert.deepEqual([encodeForSqlite([at]), encodeForPostgres(at)], [[5], "1970-01-01T00:00:00.005Z"]);
  });

  it("errors keep their message", () => {
    assert.equal(messageOf(errorOfOtherRealm("mine")), "mine");
    assert.equal(messageOf("text"), "text");
    assert.equal(messageOf(Object.create(null)), "an object without a message was thrown");
  });

  it("a store takes them, and refuses an async function of theirs", async () => {
    const store = await openTestStore();
    const settings = { at: new Date(1), map: new Map([["a", new Set([1n])]]) };
    const row = await store.repositories.upsert(ofOtherRealm({ name: "a", settings }) as { name: string });
    assert.deepStrictEqual(row.settings, settings);
    await assert.rejects(
      store.atomically(() => rejectionOfOtherRealm() as never),
      { code: "invalid_input" },
    );
    await store.close();
  });
});

it("the body of an event is cut and cleaned at any depth, in objects of every kind", () => {
  const long = "x".repeat(100_000);
  const text = "password=hunter2 \ud800\u0000";
  const bodies = [
    { a: { long, text } },
    { a: Object.assign(Object.create(null), { long, text }) },
    { a: ofOtherRealm({ long, text }) },
    {
      a: new Map([
        ["long", long],
        ["text", text],
      ]),
    },
    { a: new Set([long, text]) },
    { a: [[long, text]] },
  ];
  for (const body of bodies) {
    const capped = capBody(body, maskingOf(defaultSecretNames));
    const stored = formatJson(capped.body);
    assert.ok(capped.cut && stored.length < 100_000, "long text is cut");
    assert.doesNotMatch(stored, /hunter2/);
  }
  const many = { m: new Map(Array.from({ length: 5_000 }, (_, index) => [index, "x".repeat(100)])) };
  assert.deepEqual(capBody(many, maskingOf(defaultSecretNames)), { body: {}, cut: true });
  const environment = new Map([["A", "b"]]);
  const secrets = {
    m: new Map<string, unknown>([
      ["apiKey", "abc"],
      ["env", environment],
    ]),
  };
  assert.deepEqual(capBody(secrets, maskingOf(defaultSecretNames)).body, {
    m: new Map<string, unknown>([
      ["apiKey", "***"],
      ["env", new Map([["A", "***"]])],
    ]),
  });
});
