// A read sees all that its own client wrote before it, whether it has waited for that or not, and all that anybody
// has committed by then. Reads may run beside the writes, on another connection (D-115).
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Store } from "../../../src/index.ts";
import { newId } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { subject } from "../suite.ts";

/** The steps of a run: which client does what, and whether it waits for the answers so far. */
const steps = fc.array(
  fc.record({
    client: fc.nat(2),
    what: fc.constantFrom("create", "create", "list", "all", "log", "feed"),
    waits: fc.boolean(),
  }),
  { minLength: 5, maxLength: 24 },
);

export function readYourWrites(backend: TestedBackend): void {
  subject(backend, "read your writes", ({ test }) => {
    test("a list, a log and the feed show what the client wrote before, and what was acknowledged to others", async (opened) => {
      const clients = [opened.store, await opened.connect(), await opened.connect()];
      await fc.assert(
        fc.asyncProperty(steps, (run) => check(clients, run)),
        { numRuns: 6 },
      );
    });
  });
}

async function check(clients: readonly Store[], run: typeof steps extends fc.Arbitrary<infer Run> ? Run : never) {
  const { command, fence } = await fixtures(clients[0] as Store).claim();
  const sessionId = command.sessionId;
  const sent = clients.map(() => new Set<string>());
  const acknowledged = new Set<string>();
  const bytes = { sent: clients.map(() => 0), acknowledged: 0, offset: 0 };
  let pending: Promise<unknown>[] = [];
  const list = async (store: Store, limit: number): Promise<readonly string[]> =>
    (await store.artifacts.list({ sessionId, limit })).items.map(({ name }) => name);
  for (const { client, what, waits } of run) {
    const store = clients[client] as Store;
    const expected = new Set([...acknowledged, ...(sent[client] as Set<string>)]);
    const assertSees = (names: readonly string[]) => {
      for (const name of expected) assert.ok(names.includes(name), `${what} of client ${client} misses ${name}`);
    };
    if (what === "create") {
      const name = `artifact-${newId()}`;
      sent[client]?.add(name);
      pending.push(store.artifacts.begin({ sessionId, kind: "log", name }).then(() => acknowledged.add(name)));
    } else if (what === "list") pending.push(list(store, 500).then(assertSees));
    else if (what === "all")
      pending.push(
        (async () => {
          const names: string[] = [];
          for await (const { name } of store.artifacts.all({ sessionId, limit: 2 })) names.push(name);
          assertSees(names);
        })(),
      );
    else if (what === "log") {
      // Offsets leave no gap, so only one client appends.
      if (client === 0) {
        const data = new Uint8Array(10);
        pending.push(
          store.logs.append({ commandId: command.id, fence, offset: bytes.offset, data }).then(() => {
            bytes.acknowledged += data.length;
          }),
        );
        bytes.offset += data.length;
      }
      const least = client === 0 ? bytes.offset : bytes.acknowledged;
      pending.push(store.logs.read({ commandId: command.id }).then(({ endOffset }) => assert.ok(endOffset >= least)));
    } else {
      const least = expected.size;
      pending.push(
        store.changes.since({ sessionId }).then(({ changes }) => {
          const created = changes.filter(({ entity }) => entity === "artifact");
          assert.ok(created.length >= least, `${created.length} of ${least} changes`);
        }),
      );
    }
    if (!waits) continue;
    await Promise.all(pending);
    pending = [];
  }
  await Promise.all(pending);
}
