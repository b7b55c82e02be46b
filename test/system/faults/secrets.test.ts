// The secrets of tokens appear nowhere: not in the database file, its WAL, the output of a process, its errors or the
// messages between threads.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createClient } from "../../../src/client.ts";
import { StoreError } from "../../../src/errors.ts";
import { defaultLimits } from "../../../src/limits.ts";
import { createSecret, formatToken } from "../../../src/model/tokenText.ts";
import { operations } from "../../../src/operations/table.ts";
import type { Backend, Envelope } from "../../../src/wire.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

/** Returns the secret part of a token, between the public id and the checksum, in each form that a log might print. */
function formsOf(token: string): string[] {
  const secret = token.slice(14, 46);
  const bytes = Buffer.from(secret);
  return [
    secret,
    bytes.toString("hex"),
    bytes.toString("base64").replace(/=+$/, "").slice(0, -2),
    encodeURIComponent(secret),
  ];
}

test("no file and no output of a process that minted, verified, rotated and refused tokens holds a secret", async () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, "running"));
  const script = fileURLToPath(new URL("./secretsProcess.ts", import.meta.url));
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [script, folder], {
    timeout: 60_000,
    maxBuffer: 64 * 1024 * 1024,
  });
  const [head, ...rest] = stdout.split("\n");
  const tokens = JSON.parse(head as string) as string[];
  assert.equal(tokens.length, 7);
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const names = files.map(({ name }) => name);
  assert.ok(names.includes("store.db-wal"), "the WAL was copied while it held the writes");
  const places: [string, Buffer][] = files.map((entry) => [
    entry.name,
    readFileSync(join(entry.parentPath, entry.name)),
  ]);
  places.push(["stdout", Buffer.from(rest.join("\n"))], ["stderr", Buffer.from(stderr)]);
  assert.ok(
    rest.join("\n").includes("token_unknown") && rest.join("\n").includes("mint"),
    "the process printed its errors, events and changes",
  );
  // The search finds a text that is there: a public id.
  assert.ok(places.some(([, content]) => content.includes((tokens[0] as string).slice(4, 14))));
  for (const token of tokens) {
    for (const form of formsOf(token)) {
      for (const [place, content] of places) assert.ok(!content.includes(form), `${place} holds a secret`);
    }
  }
});

test("no message to another thread holds a secret, and a malformed token is not sent at all", async () => {
  const envelopes: Envelope[] = [];
  const backend: Backend = {
    send: (envelope) => {
      envelopes.push(envelope);
      throw new Error("there is no other side");
    },
    cancel: () => undefined,
    hold: () => undefined,
    onLost: () => undefined,
    close: async () => undefined,
  };
  const { methods } = createClient(operations, backend, defaultLimits);
  const { secret } = createSecret();
  const token = formatToken("personal", secret);
  for (const malformed of ["", "x", token.slice(1), `${token}x`, token.replace("dsp", "dsr")]) {
    await assert.rejects(methods.tokens.verify({ token: malformed }), (error: unknown) => {
      assert.ok(error instanceof StoreError && error.code === "token_malformed");
      assert.equal(envelopes.length, 0);
      return true;
    });
  }
  const id = "01890000-0000-7000-8000-000000000000";
  const options = { idempotencyKey: "k" };
  const calls = [
    methods.tokens.verify({ token }, options),
    methods.tokens.mint({ accountId: id, name: "n", scopes: ["admin"], createdBy: id }, options),
    methods.tokens.rotate({ tokenId: id }, options),
    methods.tokens.bootstrapAdmin({}, options),
    methods.atomically((tx) => tx.tokens.verify({ token })),
  ];
  for (const outcome of await Promise.allSettled(calls)) {
    assert.ok(outcome.status === "rejected");
    assert.ok(!`${outcome.reason.stack}${JSON.stringify(outcome.reason)}`.includes(secret.secret));
  }
  assert.ok(envelopes.length >= 2);
  const text = JSON.stringify(envelopes);
  assert.ok(text.includes(secret.publicId), "the public id travels");
  for (const form of formsOf(token)) assert.ok(!text.includes(form));
  // No other text has the length and alphabet of a secret: the other calls sent only public ids and hashes.
  assert.equal(text.match(/(?<![0-9A-Za-z])[0-9A-Za-z]{32}(?![0-9A-Za-z])/g), null);
  assert.ok(!/ds[pr]_[0-9A-Za-z]{5}/.test(text));
});
