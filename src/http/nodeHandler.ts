// Serves a handler of standard requests with node:http, and with whatever takes its listeners.
import type { IncomingMessage, ServerResponse } from "node:http";
import { getRequestListener } from "@hono/node-server";
import type { StoreHandler } from "./storeHandler.ts";

/**
 * Returns a listener for `createServer` of node:http, which Express, Connect and Fastify take too. The body must not have
 * been read before, so mount it before a middleware that parses bodies.
 */
export function nodeHandler(
  handler: StoreHandler,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  return getRequestListener(
    (request, { incoming }) => handler(request, { remoteAddress: incoming.socket.remoteAddress }),
    { overrideGlobalObjects: false },
  );
}
