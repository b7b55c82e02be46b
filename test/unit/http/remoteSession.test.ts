// The session of a remote client at its server: what it takes, what it keeps, and how it ends.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CallMeter } from "../../../src/http/callMeter.ts";
import { RemoteSession } from "../../../src/http/remoteSession.ts";
import { FrameReader } from "../../../src/remote/frames.ts";
import type { ServerFrame } from "../../../src/remote/protocol.ts";
import type { Backend, Envelope, Receiver } from "../../../src/wire.ts";

const identity = { scopes: ["admin" as const] };
const read = (slot: number) => ["sessions.get", [String(slot)], undefined];

/** Makes a session on a backend that a test answers by itself. */
function make({ closing }: { readonly closing?: AbortSignal } = {}) {
  const sent: { readonly envelope: Envelope; readonly receiver: Receiver }[] = [];
  const cancelled: (readonly [number, number])[] = [];
  let kept = 0;
  const backend: Backend = {
    send: (envelope, receiver) => void sent.push({ envelope, receiver }),
    cancel: (id, slot) => void cancelled.push([id, slot]),
    hold: () => undefined,
    onLost: () => undefined,
    close: async () => undefined,
  };
  const session = new RemoteSession(backend, {
    scopes: "admin",
    closing,
    meter: new CallMeter(),
    onKept: (bytes) => {
      kept += bytes;
    },
    onOver: () => undefined,
  });
  return { session, sent, cancelled, kept: () => kept };
}

/** Reads frames of a stream until there are as many, beats aside. */
async function framesOf(stream: ReadableStream<Uint8Array>, count: number): Promise<ServerFrame[]> {
  const reader = new FrameReader();
  const frames: ServerFrame[] = [];
  for await (const piece of stream.values({ preventCancel: true }))
    for (const frame of reader.read(piece) as ServerFrame[]) {
      if (frame[0] !== "beat") frames.push(frame);
      if (frames.length === count) return frames;
    }
  return frames;
}

test("takes each message once, and in their order", () => {
  const { session, sent } = make();
  const messages: Envelope[] = [1, 2, 3].map((id) => [id, false, read(id)]);
  assert.deepEqual(session.post(1, messages.slice(0, 2), identity, 0), ["taken", 3]);
  assert.deepEqual(session.post(1, messages, identity, 0), ["taken", 4]);
  assert.deepEqual(session.post(1, messages.slice(0, 1), identity, 0), ["taken", 4]);
  assert.deepEqual(
    sent.map(({ envelope: [id] }) => id),
    [1, 2, 3],
  );
  assert.deepEqual(session.post(9, messages, identity, 0), ["over", "gone"]);
});

test("keeps answers until the client has confirmed them, and splits large ones", async () => {
  const { session, sent, kept } = make();
  const slots = [0, 1, 2, 3, 4];
  session.post(1, [[1, false, slots.flatMap(read)]], identity, 0);
  const large = "x".repeat(3 * 1024 * 1024);
  sent[0]?.receiver.receive([1, 1, slots.flatMap((slot) => [true, `${slot}${large}`])]);
  const frames = await framesOf(
    session.listen(0, async () => identity),
    3,
  );
  assert.deepEqual(
    frames.map((frame) => [frame[1], frame[0] === "reply" && frame[3][3]]),
    [
      [1, [0, 1]],
      [2, [2, 3]],
      [3, [4]],
    ],
  );
  assert.ok(kept() > 15 * 1024 * 1024);
  // A client that was cut off asks again for what it does not have.
  assert.equal(
    (
      await framesOf(
        session.listen(2, async () => identity),
        1,
      )
    )[0]?.[1],
    3,
  );
  session.post(2, [], identity, 3);
  assert.equal(kept(), 0);
  session.end("gone");
});

test("a client that reads nothing loses its session, and not the memory of the server", async () => {
  const { session, sent, kept } = make();
  const large = "x".repeat(32 * 1024 * 1024);
  for (let id = 1; id <= 5; id++) {
    session.post(id, [[id, false, read(id)]], identity, 0);
    sent[id - 1]?.receiver.receive([1, 1, [true, large]]);
  }
  assert.equal(session.isOver, true);
  assert.equal(kept(), 0);
  assert.deepEqual(session.post(6, [], identity, 0), ["over", "overflow"]);
});

test("a server that ends answers what it has taken, takes no more, and says that it is over", async () => {
  const closing = new AbortController();
  const { session, sent, cancelled } = make({ closing: closing.signal });
  const wait: Envelope = [2, false, ["sessions.wait", ["a"], undefined]];
  session.post(1, [[1, false, read(1)], wait], identity, 0);
  const stream = session.listen(0, async () => identity);
  closing.abort();
  session.endWaits();
  assert.deepEqual(cancelled, [[2, 0]]);
  assert.deepEqual(session.post(3, [[3, false, read(3)]], identity, 0), ["over", "ending"]);
  sent[1]?.receiver.receive([1, 1, [false, ["aborted", "cancelled", "not_run", {}]]]);
  sent[0]?.receiver.receive([1, 1, [true, "row"]]);
  const frames = await framesOf(stream, 3);
  assert.deepEqual(
    frames.map((frame) => frame[0]),
    ["again", "reply", "over"],
  );
  assert.deepEqual(frames[2], ["over", "ending"]);
});
