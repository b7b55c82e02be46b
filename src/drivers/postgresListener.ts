// What a commit has touched, told to the other processes by NOTIFY and heard by LISTEN. Nothing rests on it but speed: calls that wait run
// again now and then in any case. https://www.postgresql.org/docs/current/sql-notify.html
import { randomUUID } from "node:crypto";
import type { PostgresConnection } from "./postgresConnection.ts";

/** The payload of a notification must be shorter than 8 000 bytes. */
const payloadBytesMax = 7_900;

interface ListenerOptions {
  readonly channel: string;
  readonly rewakeMs: number;
  /** With another connection in it each time, `onLost` of the connection calls `lost`. */
  readonly connection: PostgresConnection;
  onTouched(topics: readonly string[]): void;
}

export class PostgresListener {
  readonly #options: ListenerOptions;
  /** Tells our own notifications from those of others. */
  readonly #self = randomUUID();
  #unsent = new Set<string>();
  #sending = false;
  #version = 0;
  #closed = false;
  readonly #timer: NodeJS.Timeout;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#rewake(), options.rewakeMs).unref();
  }

  /** Changes when somebody may have committed something that was not heard of. */
  get version(): number {
    return this.#version;
  }

  /** Begins to listen. Fails as the connection does. */
  async start(): Promise<void> {
    const client = await this.#options.connection.get();
    client.on("notification", ({ payload = "" }) => this.#hear(payload));
    await client.query(`LISTEN ${this.#options.channel}`);
  }

  /** The connection is lost: listens again as soon as it can, and lets everybody look then. */
  lost(): void {
    if (this.#closed) return;
    this.start().then(
      () => this.#rewake(),
      () => setTimeout(() => this.lost(), 100).unref(),
    );
  }

  /** Topics of commits that come while a notification is on its way share the next. */
  publish(topics: Iterable<string>): void {
    for (const topic of topics) this.#unsent.add(topic);
    if (!this.#sending) void this.#send();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#options.connection.close();
  }

  #rewake(): void {
    this.#version++;
    if (this.#unsent.size > 0 && !this.#sending) void this.#send();
  }

  #hear(payload: string): void {
    const [from, ...topics] = payload.split("\n");
    if (from === this.#self) return;
    if (topics[0] === "*") this.#version++;
    else this.#options.onTouched(topics);
  }

  async #send(): Promise<void> {
    this.#sending = true;
    try {
      while (this.#unsent.size > 0) {
        const topics = [...this.#unsent];
        const all = [this.#self, ...topics].join("\n");
        const payload = Buffer.byteLength(all) <= payloadBytesMax ? all : `${this.#self}\n*`;
        const client = await this.#options.connection.get();
        await client.query("SELECT pg_notify($1, $2)", [this.#options.channel, payload]);
        for (const topic of topics) this.#unsent.delete(topic);
      }
    } catch {
      // Sent when the connection is back; till then the others look by themselves.
    } finally {
      this.#sending = false;
    }
  }
}
