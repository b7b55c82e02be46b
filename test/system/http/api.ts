// A small HTTP API as a user of the package would write it: standard Request and Response on any kind of store.
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { authenticate, type Principal, type Scope, type Store, StoreError } from "../../../src/index.ts";

type Handler = (request: Request, principal: Principal, id: string) => Promise<Response>;

export function createApi(store: Store): (request: Request) => Promise<Response> {
  const routes: readonly (readonly [method: string, path: RegExp, scopes: Scope[], handler: Handler])[] = [
    [
      "POST",
      /^\/sessions$/,
      ["sessions:write"],
      async (request, { tokenId, account }) => {
        const body = (await request.json()) as { repositoryId: string; commitSha: string };
        const key = request.headers.get("idempotency-key");
        const options = { actor: account.name, ...(key === null ? {} : { idempotencyKey: key }) };
        const { session } = await store.sessions.create({ ...body, tokenId, requestedBy: account.name }, options);
        return Response.json(session, { status: 201 });
      },
    ],
    [
      "GET",
      /^\/sessions\/([^/]+)$/,
      ["sessions:read"],
      async (_request, _principal, id) => Response.json(await store.sessions.get({ sessionId: id })),
    ],
    [
      "POST",
      /^\/tokens$/,
      ["tokens:write"],
      async (request, { tokenId }) => {
        const body = (await request.json()) as { accountId: string; name: string; scopes: Scope[] };
        const { token, secret } = await store.tokens.mint({ ...body, createdBy: tokenId });
        return Response.json({ id: token.id, hint: token.hint, secret }, { status: 201 });
      },
    ],
    ["GET", /^\/me$/, [], async (_request, principal) => Response.json(principal)],
  ];
  const checkedRoutes = routes.map(([method, path, scopes, handler]) => ({
    method,
    path,
    check: authenticate(store, { scopes }),
    handler,
  }));
  return async (request) => {
    const { pathname } = new URL(request.url);
    try {
      for (const { method, path, check, handler } of checkedRoutes) {
        const match = path.exec(pathname);
        if (match === null || method !== request.method) continue;
        const result = await check(request);
        return result.ok ? await handler(request, result.principal, match[1] ?? "") : result.response();
      }
      return Response.json({ error: "not_found" }, { status: 404 });
    } catch (error) {
      if (!(error instanceof StoreError)) return Response.json({ error: "internal" }, { status: 500 });
      const statuses: Record<string, number> = {
        invalid_input: 400,
        not_found: 404,
        scope_missing: 403,
        conflict: 409,
        idempotency_mismatch: 422,
      };
      return Response.json({ error: error.code }, { status: statuses[error.code] ?? (error.retryable ? 503 : 500) });
    }
  };
}

/** Serves the handler on a local port. */
export async function listen(
  handle: (request: Request) => Promise<Response>,
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server: Server = createServer(async (incoming, outgoing) => {
    const headers = Object.entries(incoming.headersDistinct).flatMap(([name, values]) =>
      (values ?? []).map((value): [string, string] => [name, value]),
    );
    const method = incoming.method ?? "GET";
    const body = method === "GET" || method === "HEAD" ? null : (Readable.toWeb(incoming) as ReadableStream);
    const response = await handle(
      new Request(`http://localhost${incoming.url}`, { method, headers, body, duplex: "half" } as RequestInit),
    );
    outgoing.writeHead(response.status, Object.fromEntries(response.headers));
    outgoing.end(Buffer.from(await response.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
