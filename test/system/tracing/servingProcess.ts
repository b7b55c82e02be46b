// Serves a store over HTTP to remote stores until its input ends, then prints the spans that it has made.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { nodeHandler, storeHandler } from "../../../src/http/index.ts";
import { openStore } from "../../../src/index.ts";
import { instrumentStores } from "../../../src/opentelemetry/index.ts";
import { startTelemetry } from "./telemetry.ts";

const telemetry = startTelemetry();
instrumentStores(telemetry);
const store = await openStore({ url: process.argv[2] as string });
const handler = storeHandler(store, { identify: async () => ({ scopes: ["admin"] }) });
const server = createServer(nodeHandler(handler));
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
for await (const _ of process.stdin);
server.closeAllConnections();
server.close();
await store.close();
const spans = telemetry.spans().map((span) => ({
  name: span.name,
  kind: span.kind,
  attributes: span.attributes,
  ...span.spanContext(),
  parentId: span.parentSpanContext?.spanId,
  links: span.links.map((link) => link.context.spanId),
}));
console.log(JSON.stringify(spans));
