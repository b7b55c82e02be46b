// One PostgreSQL server for all test files of a run: the process that starts the files listens on a port, starts the
// server when the first file asks there, and answers with its URL.
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { text } from "node:stream/consumers";
import { type OwnServer, ownServer } from "./postgresServer.ts";

const portVariable = "DEBUG_SERVER_DB_TEST_PG_PORT";

export interface SharedPostgres {
  /** The environment that the test files need in order to ask. */
  readonly env: Readonly<Record<string, string>>;
  /** Stops the server if it was started. */
  close(): Promise<void>;
}

export async function sharePostgres(): Promise<SharedPostgres> {
  let server: Promise<OwnServer> | undefined;
  const listener = createServer(async (socket) => {
    // A test file that was killed is no reason to stop the others.
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
      const started = await server?.catch(() => undefined);
      await started?.remove();
    },
  };
}

/** Returns the URL of the server of this run, or undefined when the file was started by itself. */
export async function sharedPostgresUrl(): Promise<string | undefined> {
  const port = process.env[portVariable];
  if (port === undefined) return undefined;
  const { url, message } = JSON.parse(await text(connect(Number(port), "127.0.0.1")));
  if (url === undefined) throw new Error(message);
  return url;
}
