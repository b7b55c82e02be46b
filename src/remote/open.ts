// Opens a store that another process serves over HTTP: the same store object, with its calls as envelopes in requests.
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { within } from "../actor/deadline.ts";
import type { Inbox } from "../actor/mailbox.ts";
import { assembleOwnedStore } from "../actor/ownedStore.ts";
import { servePort } from "../actor/ports.ts";
import { createClient } from "../client.ts";
import { StoreError, type WireFailure } from "../errors.ts";
import { checkLimits, type Limits } from "../limits.ts";
import { operationFilter } from "../operations/patterns.ts";
import { operations } from "../operations/table.ts";
import { realTime, sleep } from "../realTime.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { callWidth } from "../wire.ts";
import { Connection, type ServerAddress, Unreachable } from "./connection.ts";
import { Exchange } from "./exchange.ts";

/** The time in which the server must answer for the first time, in milliseconds. */
const openMs = 10_000;

/**
 * Opens a remote store. Fails with a code of tokens when the server refuses the token, with `busy` when it cannot be
 * reached within 10 s, and with `incompatible` when it is no server of a store. The limits are those of the server unless
 * others are given.
 */
export async function openRemote(address: ServerAddress, given: Partial<Limits>): Promise<OwnedStore> {
  const exchange = await connect(address);
  const limits = checkLimits({ ...exchange.serverLimits, ...given });
  const client = createClient(operations, exchange, limits);
  const open = new Set<Exchange>([exchange]);
  const ports = new Set<MessagePort>();
  /** Serves a port: each has an exchange of its own, so that the server gives it its own turn and bounds. */
  const serve: OwnedStore["serve"] = (port, { operations: patterns } = {}) => {
    const mayCall = operationFilter(patterns);
    const own = new Exchange(new Connection(address), mayCall);
    open.add(own);
    ports.add(port);
    servePort(port, relay(own), { callsMax: limits.groupCalls, onRefused: () => undefined, onCutOff: () => undefined });
    port.once("close", () => {
      ports.delete(port);
      void own.close().finally(() => open.delete(own));
    });
  };
  return assembleOwnedStore(client.methods, {
    limits,
    serve,
    connect(options) {
      const { port1, port2 } = new MessageChannel();
      serve(port2, options);
      return port1;
    },
    liveness() {
      const beatAgoMs = Math.round(realTime.elapsed() - exchange.heardAtMs);
      if (open.size === 0) return { state: "dead", beatAgoMs };
      return { state: exchange.isBusy && beatAgoMs > limits.stuckMs ? "stuck" : "beating", beatAgoMs };
    },
    async backup() {
      throw new StoreError(
        "incompatible",
        "a remote store is backed up where its server runs: debug-server-db backup create",
      );
    },
    async close() {
      await within(limits.closeMs, client.drain());
      await Promise.all([...open].map((one) => one.close()));
      open.clear();
      // The answers to what was on its way leave the ports before they close.
      for (const port of ports) port.close();
    },
  });
}

async function connect(address: ServerAddress): Promise<Exchange> {
  const exchange = new Exchange(new Connection(address));
  const endMs = realTime.elapsed() + openMs;
  for (;;) {
    try {
      await exchange.begin();
      return exchange;
    } catch (error) {
      if (!(error instanceof Unreachable) || realTime.elapsed() > endMs) {
        await exchange.close();
        throw error instanceof Unreachable
          ? new StoreError(
              "busy",
              `the server of the store cannot be reached within ${openMs / 1_000} s: ${error.message}`,
              { retryable: true },
            )
          : error;
      }
      await sleep(100);
    }
  }
}

/** Passes the envelopes of a port on. */
function relay(exchange: Exchange): Inbox {
  return {
    post: (envelope, onPart) =>
      new Promise((resolve) => {
        const [, isAtomic, calls] = envelope;
        const units = isAtomic ? 1 : calls.length / callWidth;
        let missing = units;
        exchange.send(envelope, {
          receive(reply) {
            missing -= reply[3]?.length ?? units;
            if (missing > 0) onPart?.(reply);
            else resolve(reply);
          },
          refuse(reason) {
            const failure: WireFailure = ["invalid_input", reason, "not_run", {}];
            resolve([0, 0, Array.from({ length: units }, () => [false, failure]).flat()]);
          },
        });
      }),
    cancel: (envelopeId, slot) => exchange.cancel(envelopeId, slot),
    disconnect: () => void exchange.close(),
  };
}
