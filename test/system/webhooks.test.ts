// The example docs/examples/webhooks.ts, as a process, against a real HTTP server that fails some times.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { openStore } from "../../src/index.ts";
import { withSources } from "../support/examples.ts";
import { temporaryFolder } from "../support/temporaryFolder.ts";
import { until } from "./faults/until.ts";

const secret = "a secret";

test("webhooks are delivered in order and at least once, through failures and the death of the process", async (t) => {
  const folder = temporaryFolder();
  const url = `sqlite:${join(folder, "store.db")}`;
  const received: { readonly key: number; readonly topic: string; readonly id: string; readonly accepted: boolean }[] =
    [];
  /** The faults of the receiver, for its next requests. */
  const faults: ("status" | "cut" | "kill")[] = [];
  let child: ChildProcess | undefined;
  const receiver = createServer(async (request, response) => {
    const body = await text(request);
    const signature = createHmac("sha256", secret).update(body).digest("hex");
    assert.equal(request.headers["x-signature-256"], signature);
    const fault = faults.shift();
    const { topic, id } = JSON.parse(body);
    received.push({
      key: Number(request.headers["idempotency-key"]),
      topic,
      id,
      accepted: fault === undefined || fault === "kill",
    });
    if (fault === "cut") return void request.socket.destroy();
    // The event has arrived, but the answer to it does not.
    if (fault === "kill") return void child?.kill("SIGKILL");
    response.writeHead(fault === "status" ? 503 : 204).end();
  });
  receiver.listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const example = readFileSync(new URL("../../docs/examples/webhooks.ts", import.meta.url), "utf8");
  const file = join(folder, "webhooks.ts");
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(file, withSources(example).replace("ttlMs: 30_000", "ttlMs: 2_000"));
  const start = () => {
    child = spawn(process.execPath, [file], {
      env: {
        ...process.env,
        DEBUG_SERVER_DB_URL: url,
        WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`,
        WEBHOOK_SECRET: secret,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    return child;
  };
  const store = await openStore({ url });
  t.after(async () => {
    child?.kill("SIGKILL");
    receiver.close();
    receiver.closeAllConnections();
    await store.close();
  });
  await store.changes.consume({ consumer: "webhooks", entity: "event", waitMs: 0 });
  const expected: string[] = [];
  const publish = async (count: number) => {
    for (let n = 0; n < count; n++) {
      expected.push(`order ${expected.length}`);
      await store.changes.publish({ topic: "order.paid", entityId: expected.at(-1) as string });
    }
  };
  const accepted = () => [...new Map(received.filter((one) => one.accepted).map(({ key, id }) => [key, id])).values()];

  await publish(6);
  faults.push("status", "cut", "status");
  const first = start();
  const stderr = text(first.stderr as NodeJS.ReadableStream);
  await until(() => accepted().length === 6);
  faults.push("kill");
  await publish(6);
  await once(first, "exit");
  assert.match(await stderr, /^event \d+: status 503\nevent \d+: fetch failed\nevent \d+: status 503\n$/);
  start();
  await until(() => accepted().length === 12);
  await until(async () => (await store.changes.consumers()).consumers[0]?.leaseExpiresAt === null);
  assert.deepEqual(accepted(), expected);
  // The failures, and the one event whose answer was lost.
  assert.equal(received.length, 12 + 3 + 1);
  assert.deepEqual(
    received.map(({ key }) => key),
    received.map(({ key }) => key).toSorted((one, other) => one - other),
  );
});
