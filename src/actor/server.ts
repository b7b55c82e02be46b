// Puts drivers, dispatchers and mailboxes together and serves ports. The same in the database thread and, without a
// thread, for PostgreSQL and in tests.
import type { MessagePort } from "node:worker_threads";
import type { Clock } from "../clock.ts";
import type { ServerState } from "../context.ts";
import { createDispatcher } from "../dispatch.ts";
import type { Driver } from "../driver.ts";
import { StoreError } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import type { Limits } from "../limits.ts";
import { operationFilter } from "../operations/patterns.ts";
import { servedOperations } from "../operations/table.ts";
import type { Touched } from "../wire.ts";
import { within } from "./deadline.ts";
import { byLane } from "./entry.ts";
import { sumFigures } from "./figures.ts";
import { type Inbox, Mailbox } from "./mailbox.ts";
import { servePort } from "./ports.ts";
import { startReaper } from "./reaper.ts";
import { LastUsed } from "./tokenUse.ts";
import { WriteWatch } from "./writeProbe.ts";

export interface ServerOptions {
  /**
   * Each runs one transaction at a time. A client's calls all go through one of them, so that they run in order
   * (D-040).
   */
  readonly drivers: readonly Driver[];
  readonly clock: Clock;
  readonly limits: Limits;
  /** Whether other processes may commit to the same database. */
  readonly shared: boolean;
  /** Tells other processes what a commit has touched. */
  onCommit?(topics: ReadonlySet<string>): void;
  onEvent(event: StoreEvent): void;
}

export interface Server {
  /** `patterns`: names such as "commands.claim", or "commands.*"; absent for all. */
  connect(patterns?: readonly string[]): Inbox;
  serve(port: MessagePort, patterns?: readonly string[]): void;
  /** Another process has committed: calls that wait for it run again. */
  touch(topics: Touched): void;
  /**
   * Copies the database to a file that is there and empty, between groups. Fails as Driver.backUp; incompatible where
   * there is none.
   */
  backUp: NonNullable<Driver["backUp"]>;
  /** Takes nothing more in, runs what is queued, closes the database. */
  close(): Promise<void>;
}

export function createServer({ drivers, clock, limits, shared, onCommit, onEvent }: ServerOptions): Server {
  const onFault = (error: StoreError): void =>
    onEvent({ type: "fault", code: error.code, message: error.message, cause: describe(error.cause) });
  const serverState = (): ServerState => ({
    counts: sumFigures(mailboxes.map((mailbox) => mailbox.figures())),
    lanes: byLane((lane) => sumFigures(mailboxes.map((mailbox) => mailbox.lanes()[lane]))),
    queueFullness: Math.max(...mailboxes.map(({ fullness }) => fullness)),
    lastWrite: writes.last,
    database: (drivers[0] as Driver).facts(),
  });
  const mailboxes = drivers.map((driver): Mailbox => {
    const dispatcher = createDispatcher({
      operations: servedOperations,
      driver,
      limits,
      serverState,
      onInternal: onFault,
      onUsed: (tokenId, at) => lastUsed.note(tokenId, at),
    });
    const mailbox = new Mailbox({
      dispatcher,
      limits,
      clock,
      epoch: driver.epoch,
      dataVersion: shared ? driver.dataVersion : undefined,
      onCommit(topics) {
        for (const other of mailboxes) if (other !== mailbox) other.touch(topics);
        onCommit?.(topics);
      },
      onFault,
      onWrite: (failed) => writes.note(failed),
    });
    return mailbox;
  });
  let turn = 0;
  const connectAny = (mayCall: (name: string) => boolean): Inbox =>
    (mailboxes[turn++ % mailboxes.length] as Mailbox).connect(mayCall);
  const everything = () => true;
  const lastUsed = new LastUsed(connectAny(everything), limits);
  const prober = connectAny(everything);
  let probes = 0;
  const writes = new WriteWatch(limits, () => prober.post([++probes, false, ["maintenance.probe", [], undefined]]));
  const stopReaping = startReaper(connectAny(everything), limits.reapEveryMs, onEvent);
  const connect = (patterns?: readonly string[]) => connectAny(operationFilter(patterns));
  const ports = new Set<MessagePort>();
  let closing = false;
  return {
    connect,
    serve(port, patterns) {
      if (closing) {
        // The other end learns that nobody will answer.
        port.close();
        return;
      }
      let refused = 0;
      // A peer that sends nothing else must not fill anybody's log.
      const onRefused = (reason: string): void => {
        if (refused++ < refusalsTold) onEvent({ type: "message_refused", reason });
      };
      servePort(port, connect(patterns), limits.queueCalls, onRefused);
      ports.add(port);
      port.on("close", () => ports.delete(port));
    },
    touch(topics) {
      for (const mailbox of mailboxes) mailbox.touch(topics);
    },
    async backUp(target, watch) {
      const [{ backUp }] = drivers as readonly [Driver];
      if (backUp === undefined) throw new StoreError("incompatible", "this database is not copied by its server");
      await backUp(target, watch);
    },
    async close() {
      closing = true;
      stopReaping();
      writes.stop();
      const finish = async (): Promise<void> => {
        await lastUsed.flush();
        await Promise.all(mailboxes.map((mailbox) => mailbox.close()));
      };
      // A database that cannot be reached is not waited for longer: what is still queued fails with it.
      await within(limits.closeMs, finish());
      await Promise.all(drivers.map((driver) => driver.close()));
      // Without a thread of its own that ends, a port would keep the process alive, and its other end waiting.
      for (const port of ports) port.close();
    },
  };
}

/** Of each port. */
const refusalsTold = 20;

function describe(cause: unknown): string | undefined {
  return cause instanceof Error ? (cause.stack ?? cause.message) : cause === undefined ? undefined : String(cause);
}
