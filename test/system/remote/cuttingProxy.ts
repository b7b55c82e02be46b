// A TCP proxy that cuts connections after given numbers of bytes, and that can be told to refuse all.

import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";

/** The place at which a connection is cut: after this number of bytes to the server, or to the client. */
export interface Cut {
  readonly direction: "to server" | "to client";
  readonly afterBytes: number;
}

export class CuttingProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #targetPort: number;
  #cuts: Cut[] = [];
  /** The number of connections that were cut. */
  cut = 0;

  constructor(targetPort: number) {
    this.#targetPort = targetPort;
    this.#server = createServer((client) => this.#serve(client));
  }

  /** Listens on a port that is free, or on this one again. */
  async listen(port = 0): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Leads to another server from now on. */
  leadTo(targetPort: number): void {
    this.#targetPort = targetPort;
  }

  /** Cuts connections that come from now on, one for each cut, and all that are open now. */
  cutNext(cuts: readonly Cut[]): void {
    this.#cuts.push(...cuts);
    this.cutAll();
  }

  cutAll(): void {
    this.cut += this.#sockets.size / 2;
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cutAll();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(client: Socket): void {
    const server = connect(this.#targetPort, "127.0.0.1");
    const cut = this.#cuts.shift();
    const end = (): void => {
      for (const socket of [client, server]) {
        socket.destroy();
        this.#sockets.delete(socket);
      }
    };
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on("error", end);
      socket.on("close", end);
    }
    const pass = (from: Socket, to: Socket, direction: Cut["direction"]): void => {
      let leftBytes = cut?.direction === direction ? cut.afterBytes : Number.POSITIVE_INFINITY;
      from.on("data", (data) => {
        if (data.byteLength < leftBytes) {
          leftBytes -= data.byteLength;
          to.write(data);
          return;
        }
        this.cut++;
        // What came before the cut still arrives.
        to.write(data.subarray(0, leftBytes), end);
      });
    };
    pass(client, server, "to server");
    pass(server, client, "to client");
  }
}
