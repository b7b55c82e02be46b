// Shares one PostgreSQL server among all test files of a run. The process that starts the files listens on a port. When
// the first file asks on that port, the process starts the server, and answers with its URL.
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { text } from "node:stream/consumers";
import { type OwnServer, ownServer } from "./postgresServer.ts";

const portVariable = "DEBUG_SERVER_DB_TEST_PG_PORT";

export interface SharedPostgres {
  /** The environment variables with which the test files find the port. */
  readonly env: Readonly<Record<string, string>>;
  /** Stops the server if it was started. */
  close(): Promise<void>;
}

/** Listens for test files that need the server. */
export async function sharePostgres(): Promise<SharedPostgres> {
  let server: Promise<OwnServer> | undefined;
  const listener = createServer(async (socket) => {
    // A test file that is killed must not stop the others.
    socket.on("error", () => undefined);
    server ??= ownServer();
    const answer = await server.then(
      ({ url }) => ({ url }),
      ({ message }: Error) => ({ message }),
    );
    socket.end(JSON.stringify(answer));
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  return {
    env: { [portVariable]: String((listener.address() as AddressInfo).port) },
    async close() {
      listener.close();
      const startedServer = await server?.catch(() => undefined);
      await startedServer?.remove();
    },
  };
}

/** Returns the URL of the run's server, or undefined when the file runs by itself. */
export async function sharedPostgresUrl(): Promise<string | undefined> {
  const port = process.env[portVariable];
  if (port === undefined) return undefined;
  const { url, message } = JSON.parse(await text(connect(Number(port), "127.0.0.1")));
  if (url === undefined) throw new Error(message);
  return url;
}
