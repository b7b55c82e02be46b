// Serves a handler of standard requests with node:http, and with whatever takes its listeners.
import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { StoreError } from "../errors.ts";
import { problemResponse } from "./problems.ts";
import type { StoreHandler } from "./storeHandler.ts";

/**
 * Returns a listener for `createServer` of node:http, which Express, Connect and Fastify take too. The body must not have
 * been read before, so mount it before a middleware that parses bodies.
 */
export function nodeHandler(
  handler: StoreHandler,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  return getRequestListener(
    (request, { incoming }) =>
      handler(request, {
        remoteAddress: incoming.socket.remoteAddress,
        // What some platforms read before, they leave there.
        bodyWasRead: incoming.readableDidRead && !("rawBody" in incoming),
      }),
    // A request of HTTP/1.0, or over a Unix socket, may name no host.
    {
      overrideGlobalObjects: false,
      hostname: "localhost",
      errorHandler: (error) => problemResponse(notReadable(error), randomUUID()),
    },
  );
}

/** Returns the failure of a request that cannot be read, such as one with a host that is none. */
function notReadable(error: unknown): unknown {
  if (!(error instanceof Error) || error.name !== "RequestError") return error;
  return new StoreError("invalid_input", `the request cannot be read: ${error.message}`);
}
