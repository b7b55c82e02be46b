// Delivers the events of a store (docs/guide/outbox.md) to the URL in WEBHOOK_URL, each at least once and in order. Of several
// such processes one delivers at a time; when it dies, another one takes over. An error ends it: let systemd start it again.
import { createHmac } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type ChangeRow, openStore } from "debug-server-db";

const { WEBHOOK_URL = "http://127.0.0.1:8080/", WEBHOOK_SECRET = "" } = process.env;
const lease = { consumer: "webhooks", ttlMs: 30_000 };
const store = await openStore({ role: "visitor" });

async function deliver({ seq, op, entityId, at, detail }: ChangeRow, fence: number): Promise<void> {
  const body = JSON.stringify({ topic: op, id: entityId, at, detail });
  const signature = createHmac("sha256", WEBHOOK_SECRET).update(body).digest("hex");
  // By its key the receiver recognizes an event that it gets once more.
  const headers = { "content-type": "application/json", "idempotency-key": `${seq}`, "x-signature-256": signature };
  for (let pauseMs = 100; ; pauseMs = Math.min(2 * pauseMs, 10_000)) {
    const request = { method: "POST", headers, body, signal: AbortSignal.timeout(10_000) };
    const result = await fetch(WEBHOOK_URL, request).catch((error: Error) => error);
    const isDelivered = result instanceof Response && result.ok;
    // Acknowledges this event, or those before it; and the lease goes on.
    await store.changes.checkpoint({ ...lease, fence, seq: isDelivered ? seq : seq - 1 });
    if (isDelivered) return;
    console.error(`event ${seq}: ${result instanceof Response ? `status ${result.status}` : result.message}`);
    await sleep(pauseMs);
  }
}

for (let held: { fence?: number | null; handled?: number } = {}; ; ) {
  const { changes, fence, nextSeq } = await store.changes.consume({ ...lease, ...held, entity: "event" });
  for (const change of changes) await deliver(change, fence as number);
  held = { fence, handled: nextSeq };
}
