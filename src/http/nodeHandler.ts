// Serves a handler of standard requests with node:http, and with whatever takes its listeners.
import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { StoreError } from "../errors.ts";
import { realTime } from "../realTime.ts";
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
    async (request, { incoming, outgoing }) => {
      const response = await handler(request, {
        remoteAddress: incoming.socket.remoteAddress,
        // Some platforms read the body before, and leave its bytes there.
        bodyWasRead: incoming.readableDidRead && !("rawBody" in incoming),
      });
      if (response.body === null || /json$/.test(response.headers.get("content-type") ?? "")) return response;
      return new Response(cutOffByFailure(response.body, outgoing as ServerResponse), response);
    },
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

/** The time in which what was read before a failure is written, in milliseconds. */
const cutOffMs = 50;

/**
 * Returns a body that cuts its connection off when it fails. The adapter would write the message of the failure behind
 * what it has sent, and end as if that were all.
 */
function cutOffByFailure(body: ReadableStream<Uint8Array>, outgoing: ServerResponse): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (!done) return controller.enqueue(value);
          controller.close();
        } catch {
          // The read that waits ends with the connection.
          realTime.setTimeout(() => outgoing.destroy(), cutOffMs);
          await new Promise((resolve) => outgoing.once("close", resolve));
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}
