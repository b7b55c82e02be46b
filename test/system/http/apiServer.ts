// The API of a store on a real socket, with an administrator's token and functions that send requests.
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { nodeHandler, type StoreHandlerOptions, storeHandler } from "../../../src/http/index.ts";
import { type OwnedStore, openStore, type Scope } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

/** Returns a reason to skip a test without this program. */
export function without(program: string): string | false {
  try {
    execFileSync(program, ["--version"], { stdio: "ignore" });
    return false;
  } catch {
    return `there is no ${program}`;
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: the tests name the fields of results freely.
  readonly body: any;
}

export interface Sent {
  readonly method?: string;
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Sent as JSON, unless it is bytes or text. */
  readonly body?: unknown;
}

export interface ApiServer {
  readonly store: OwnedStore;
  readonly url: string;
  readonly port: number;
  /** The text of a token that covers `admin`. */
  readonly admin: string;
  readonly server: ReturnType<typeof createServer>;
  fetch(path: string, sent?: Sent): Promise<Response>;
  ask(path: string, sent?: Sent): Promise<Answer>;
  /** Calls an operation, and returns its result. Fails unless the status is 200. */
  // biome-ignore lint/suspicious/noExplicitAny: the tests name the fields of results freely.
  call(operation: string, input?: unknown, sent?: Sent): Promise<any>;
  /** Returns the text of a new token. */
  tokenWith(...scopes: Scope[]): Promise<string>;
}

export async function serveApi(t: TestContext, options: StoreHandlerOptions = {}): Promise<ApiServer> {
  const folder = temporaryFolder();
  const store = await openStore({ url: `sqlite:${join(folder, "store.db")}` });
  const admin = (await store.tokens.bootstrapAdmin()).secret as string;
  const server = createServer(nodeHandler(storeHandler(store, options)));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await store.close();
  });
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const send = (path: string, { method, token = admin, headers = {}, body, signal }: Sent = {}) => {
    const isRaw = typeof body === "string" || body instanceof Uint8Array;
    return fetch(`${url}${path}`, {
      method: method ?? (body === undefined ? "GET" : "POST"),
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined || isRaw ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(signal === undefined ? {} : { signal }),
      ...(body === undefined ? {} : { body: isRaw ? (body as Uint8Array<ArrayBuffer>) : JSON.stringify(body) }),
    });
  };
  const ask = async (path: string, sent: Sent = {}): Promise<Answer> => {
    const response = await send(path, sent);
    const text = await response.text();
    const isJson = /^application\/(?:problem\+)?json/.test(response.headers.get("content-type") ?? "") && text !== "";
    return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : undefined };
  };
  return {
    store,
    url,
    port,
    admin,
    server,
    fetch: send,
    ask,
    async call(operation, input = {}, sent = {}) {
      const { status, body, text } = await ask(`/v1/${operation}`, { ...sent, body: input });
      if (status !== 200) throw new Error(`${operation}: ${status} ${text}`);
      return body;
    },
    tokenWith: async (...scopes) => (await fixtures(store).token({ scopes })).secret as string,
  };
}
