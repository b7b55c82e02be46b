// What a commit has touched, told to the other processes by NOTIFY and heard by LISTEN. Nothing rests on it but speed (D-048): calls that wait run
// again now and then in any case. https://www.postgresql.org/docs/current/sql-notify.html
import { randomUUID } from "node:crypto";
import type { Touched } from "../wire.ts";
import type { PostgresConnection } from "./connection.ts";

/** The payload of a notification must be shorter than 8 000 bytes. */
const payloadBytesMax = 7_900;
/** More topics than one notification can hold need not be kept apart. */
const topicsMax = 1_000;
const restMs = 100;

interface ListenerOptions {
  readonly channel: string;
  /** How often to say that all may have been touched, should a notification have been lost. */
  readonly rewakeMs: number;
  /** Its owner calls `lost` when it is lost. */
  readonly connection: PostgresConnection;
  onTouched(topics: Touched): void;
}

export class PostgresListener {
  readonly #options: ListenerOptions;
  /** Tells our own notifications from those of others. */
  readonly #self = randomUUID();
  #unsent = new Set<string>();
  #sending = false;
  #listening = false;
  #closed = false;
  readonly #timer: NodeJS.Timeout;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#rewake(), options.rewakeMs).unref();
  }

  /** Begins to listen. Fails as the connection does. */
  async start(): Promise<void> {
    const client = await this.#options.connection.get();
    client.on("notification", ({ payload = "" }) => this.#hear(payload));
    await client.query(`LISTEN ${this.#options.channel}`);
    this.#listening = true;
  }

  /** The connection is lost: listens again as soon as it can, and lets everybody look then. */
  lost(): void {
    if (!this.#listening) return;
    this.#listening = false;
    void this.#restart();
  }

  /** Topics of commits that come while a notification is on its way share the next. */
  publish(topics: Iterable<string>): void {
    for (const topic of topics) this.#unsent.add(topic);
    if (this.#unsent.size > topicsMax) this.#unsent = new Set(["*"]);
    if (!this.#sending) void this.#send();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#options.connection.close();
  }

  async #restart(): Promise<void> {
    while (!this.#closed) {
      try {
        await this.start();
        return this.#rewake();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, restMs).unref());
      }
    }
  }

  #rewake(): void {
    this.#options.onTouched("all");
    if (this.#unsent.size > 0 && !this.#sending) void this.#send();
  }

  #hear(payload: string): void {
    const [from, ...topics] = payload.split("\n");
    if (from !== this.#self) this.#options.onTouched(topics.includes("*") ? "all" : topics);
  }

  async #send(): Promise<void> {
    this.#sending = true;
    while (this.#unsent.size > 0) {
      // What is touched from now on is told with the next.
      const topics = this.#unsent;
      this.#unsent = new Set();
      try {
        const all = [this.#self, ...topics].join("\n");
        const payload = Buffer.byteLength(all) <= payloadBytesMax ? all : `${this.#self}\n*`;
        const client = await this.#options.connection.get();
        await client.query("SELECT pg_notify($1, $2)", [this.#options.channel, payload]);
      } catch {
        // Sent when the connection is back; till then the others look by themselves.
        this.#unsent = new Set([...topics, ...this.#unsent]);
        break;
      }
    }
    this.#sending = false;
  }
}
