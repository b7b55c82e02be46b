// Ids are UUIDv7: https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
import assert from "node:assert/strict";
import { it } from "node:test";
import { Id } from "../../../src/model/fields.ts";
import { mockTime } from "../../support/mockedTime.ts";

/** A copy of the module that has issued no id yet, because an id never sorts before those that came before it. */
const { newId }: typeof import("../../../src/model/ids.ts") = await import(`${"../../../src/model/ids.ts"}?copy`);

it("an id holds 48 bits of time, the version, the variant, a sequence and random bits", ({ mock }) => {
  mockTime(mock, { apis: ["Date"], now: 0x0123_4567_89ab });
  // Whatever the start below 2 048, so many ids set each bit of the sequence to 0 and to 1 without an overflow.
  const ids = Array.from({ length: 2_049 }, newId);
  const seen = ids.map((id) => {
    const [, version, tail] = /^01234567-89ab-([0-9a-f])([0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})$/.exec(id) ?? [];
    assert.equal(version, "7");
    return BigInt(`0x${tail?.replaceAll("-", "")}`);
  });
  // The variant is the two bits 10. Every other bit is seen as 0 and as 1.
  const always = seen.reduce((all, bits) => all & bits);
  const ever = seen.reduce((all, bits) => all | bits);
  const variant = 0b10n << 62n;
  assert.equal(always, variant);
  assert.equal(ever, (0xfffn << 64n) | variant | ((1n << 62n) - 1n));
  assert.equal(new Set(ids).size, ids.length);
});

it("ids sort by the millisecond of their creation, and the Id field accepts them", ({ mock }) => {
  mockTime(mock, { apis: ["Date"], now: 0 });
  const ids: string[] = [];
  for (const ms of [0, 1, 255, 256, 1_700_000_000_000, 2 ** 47]) {
    mock.timers.setTime(ms);
    ids.push(newId());
  }
  assert.deepEqual([...ids].sort(), ids);
  for (const id of ids) assert.equal(Id.parse(id), id);
});

it("ids of one millisecond sort in the order of their creation", () => {
  const ids = Array.from({ length: 20_000 }, () => newId());
  assert.deepEqual(ids, ids.toSorted());
  assert.equal(new Set(ids).size, ids.length);
});
