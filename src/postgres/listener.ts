// Sends and receives notifications of the topics that commits touch:
// https://www.postgresql.org/docs/current/sql-notify.html
// Only speed depends on them (D-048), because waiting calls also run again at an interval.

import { randomUUID } from "node:crypto";
import type pg from "pg";
import { StoreError } from "../errors.ts";
import { realTime } from "../realTime.ts";
import type { Touched } from "../wire.ts";
import type { PostgresConnection } from "./connection.ts";
import { isQueueFull } from "./errors.ts";

/** The size of the topics in one notification, whose payload must be shorter than 8 000 bytes. The longest have 4 000. */
const payloadBytesMax = 7_900;
/** The number of unsent topics beyond which `*`, all topics, replaces them. */
const topicsMax = 1_000;
/** The time between two attempts to listen again. */
const retryDelayMs = 100;

interface ListenerOptions {
  readonly channel: string;
  /** The interval at which all topics are reported as touched, in case a notification was lost. */
  readonly rewakeMs: number;
  /** The connection to listen on. Its owner calls `lost` of the listener when the connection is lost. */
  readonly connection: PostgresConnection;
  onTouched(topics: Touched): void;
  /** Receives a failure to notify that people have to act on, once until notifications are sent again. */
  onFault(error: StoreError): void;
}

export class PostgresListener {
  readonly #options: ListenerOptions;
  /** Marks our own notifications, which the server delivers to us too, and which are then ignored. */
  readonly #self = randomUUID();
  #unsent = new Set<string>();
  #sending = false;
  #queueIsFull = false;
  #state: "new" | "listening" | "lost" = "new";
  #closed = false;
  readonly #timer: NodeJS.Timeout;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#timer = realTime.setInterval(() => this.#rewake(), options.rewakeMs).unref();
  }

  /** Starts to listen. Fails when the connection fails. */
  async start(): Promise<void> {
    const { connection, channel } = this.#options;
    const client = await connection.get();
    const receive = ({ payload = "" }: pg.Notification): void => this.#receive(payload);
    client.on("notification", receive);
    try {
      await client.query(`LISTEN ${channel}`);
    } catch (error) {
      client.off("notification", receive);
      connection.drop(client);
      throw error;
    }
    this.#state = "listening";
  }

  /**
   * Handles the loss of the connection: listens again as soon as possible, then reports all topics as touched, because
   * notifications may have been missed.
   */
  lost(): void {
    if (this.#state === "lost") return;
    this.#state = "lost";
    void this.#restart();
  }

  /** Sends topics to other processes. Topics that are added while a notification is being sent share the next one. */
  publish(topics: Iterable<string>): void {
    for (const topic of topics) this.#unsent.add(topic);
    if (this.#unsent.size > topicsMax) this.#unsent = new Set(["*"]);
    if (!this.#sending) void this.#send();
  }

  async close(): Promise<void> {
    this.#closed = true;
    realTime.clearInterval(this.#timer);
    await this.#options.connection.close();
  }

  async #restart(): Promise<void> {
    while (!this.#closed) {
      try {
        await this.start();
        return this.#rewake();
      } catch {
        await new Promise((resolve) => realTime.setTimeout(resolve, retryDelayMs).unref());
      }
    }
  }

  #rewake(): void {
    this.#options.onTouched("all");
    if (this.#unsent.size > 0 && !this.#sending) void this.#send();
  }

  #receive(payload: string): void {
    const [sender, ...topics] = payload.split("\n");
    if (sender !== this.#self) this.#options.onTouched(topics.includes("*") ? "all" : topics);
  }

  #payloadsOf(topics: readonly string[]): readonly string[] {
    const payloads: string[] = [];
    let payload = this.#self;
    let bytes = payload.length;
    for (const topic of topics) {
      const added = 1 + Buffer.byteLength(topic);
      if (bytes + added > payloadBytesMax) {
        payloads.push(payload);
        payload = this.#self;
        bytes = payload.length;
      }
      payload += `\n${topic}`;
      bytes += added;
    }
    payloads.push(payload);
    return payloads;
  }

  /**
   * Reports a queue of notifications that is full, and waits before the next attempt. The server drops what everybody has
   * read only when somebody asks for the size.
   */
  async #makeRoom(cause: unknown): Promise<void> {
    if (!this.#queueIsFull) {
      this.#queueIsFull = true;
      this.#options.onFault(
        new StoreError(
          "busy",
          `the server's queue of notifications is full, so calls that wait in other processes are woken late: end the connection that listens in a transaction that stays open (${(cause as Error).message})`,
          { cause },
        ),
      );
    }
    await new Promise((resolve) => realTime.setTimeout(resolve, retryDelayMs).unref());
    const client = await this.#options.connection.get().catch(() => undefined);
    await client?.query("SELECT pg_notification_queue_usage()").catch(() => undefined);
  }

  async #send(): Promise<void> {
    this.#sending = true;
    while (this.#unsent.size > 0) {
      // Topics that are touched from now on go into the next notification.
      const topics = this.#unsent;
      this.#unsent = new Set();
      try {
        const client = await this.#options.connection.get();
        await client.query("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload", [
          this.#options.channel,
          this.#payloadsOf([...topics]),
        ]);
        this.#queueIsFull = false;
      } catch (error) {
        this.#unsent = new Set([...topics, ...this.#unsent]);
        // The topics are sent when the connection is back. Until then other processes rely on their interval.
        if (this.#closed || !isQueueFull(error)) break;
        await this.#makeRoom(error);
      }
    }
    this.#sending = false;
  }
}
