// A TCP proxy in front of PostgreSQL that can change or drop each message, and cut the connection:
// https://www.postgresql.org/docs/current/protocol-message-formats.html
import { connect, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";

export interface Message {
  readonly from: "client" | "server";
  /** The first byte of the message, or an empty text for the client's first message, which has no type. */
  readonly type: string;
  readonly body: Buffer;
}

/** Decides whether a message is passed on, gets another body or is dropped, or whether the connection is cut. */
export type Rule = (message: Message) => Buffer | "pass" | "swallow" | "cut";

export interface TcpProxy {
  /** The URL of the database through the proxy. */
  readonly url: string;
  /** Sets the rule for all later messages, also on existing connections. */
  rule: Rule;
  /** The URL of the server that new connections lead to. */
  target: string;
  /** False while new connections are refused. */
  open: boolean;
  /** The number of connections accepted so far. */
  connections: number;
  cutAll(): void;
}

export async function startProxy(t: TestContext, serverUrl: string): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    if (!proxy.open) return void client.destroy();
    proxy.connections++;
    const target = new URL(proxy.target);
    const upstream = connect(Number(target.port), target.hostname);
    const cut = (): void => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", cut);
      socket.on("close", () => {
        sockets.delete(socket);
        cut();
      });
    }
    relay(client, upstream, "client", proxy, cut);
    relay(upstream, client, "server", proxy, cut);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = new URL(serverUrl);
  url.port = String((server.address() as { port: number }).port);
  const proxy: TcpProxy = {
    url: url.href,
    rule: () => "pass",
    target: serverUrl,
    open: true,
    connections: 0,
    cutAll() {
      for (const socket of sockets) socket.destroy();
    },
  };
  t.after(() => {
    proxy.cutAll();
    server.close();
  });
  return proxy;
}

function relay(source: Socket, sink: Socket, from: Message["from"], proxy: TcpProxy, cut: () => void): void {
  let rest = Buffer.alloc(0);
  let first = from === "client";
  source.on("data", (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      const head = first ? 0 : 1;
      if (rest.length < head + 4) return;
      const end = head + rest.readInt32BE(head);
      if (rest.length < end) return;
      const frame = rest.subarray(0, end);
      const verdict = proxy.rule({
        from,
        type: first ? "" : String.fromCharCode(frame[0] as number),
        body: frame.subarray(head + 4),
      });
      first = false;
      rest = rest.subarray(end);
      if (verdict === "cut") return cut();
      if (verdict === "swallow") continue;
      sink.write(verdict === "pass" ? frame : Buffer.concat([frame.subarray(0, head + 4), verdict]));
    }
  });
}

/** Returns true for a COMMIT on its way to the server, as a simple query. */
export function isCommit({ from, type, body }: Message): boolean {
  return from === "client" && type === "Q" && body.toString().startsWith("COMMIT");
}

/** Returns true for the server's answer that it has committed. */
export function isCommitted({ from, type, body }: Message): boolean {
  return from === "server" && type === "C" && body.toString().startsWith("COMMIT");
}
