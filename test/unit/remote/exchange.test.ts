// The client's end of a remote store, on a connection that a test scripts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Connection, Unreachable } from "../../../src/remote/connection.ts";
import { Exchange } from "../../../src/remote/exchange.ts";
import type { ClientFrame, ServerFrame } from "../../../src/remote/protocol.ts";
import type { Reply } from "../../../src/wire.ts";

test("an envelope that is sent again after a part of its answer asks for the rest", async () => {
  const have: number[] = [];
  const connection: Pick<Connection, "stream" | "post" | "close"> = {
    async *stream(message: ClientFrame, _signal, _waits, onSent): AsyncGenerator<ServerFrame, void, undefined> {
      if (message[0] === "hello") return yield ["session", "one", {}];
      if (message[0] !== "call") return;
      onSent?.();
      have.push(message[5]);
      if (message[5] === 0) {
        yield ["part", [1, 1, [true, "first"], [0]]];
        throw new Unreachable("cut");
      }
      yield ["last", [1, 2, [true, "second"], [1]]];
    },
    post: async () => undefined,
    close: () => undefined,
  };
  const exchange = new Exchange(connection as Connection);
  const replies: Reply[] = [];
  await new Promise<void>((resolve, reject) => {
    exchange.send([1, false, ["sessions.get", [], undefined, "sessions.get", [], undefined]], {
      receive(reply) {
        replies.push(reply);
        if (replies.length === 2) resolve();
      },
      refuse: reject,
    });
  });
  assert.deepEqual(have, [0, 1]);
  assert.deepEqual(
    replies.map(([, , answers, slots]) => [answers, slots]),
    [
      [[true, "first"], [0]],
      [[true, "second"], [1]],
    ],
  );
  await exchange.close();
});
