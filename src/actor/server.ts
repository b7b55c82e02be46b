// A server: drivers with their dispatchers and mailboxes, and the ports that lead to them. The same server runs in the
// database thread and, for PostgreSQL and in tests, in the thread that opened the store.
import type { MessagePort } from "node:worker_threads";
import { BlockReader } from "../archive/blockReader.ts";
import type { LogArchive } from "../archive/logArchive.ts";
import type { Clock } from "../clock.ts";
import type { ServerState } from "../context.ts";
import { createDispatcher } from "../dispatch.ts";
import type { Driver } from "../driver.ts";
import { StoreError } from "../errors.ts";
import { faultEvent, type StoreEvent } from "../events.ts";
import type { Limits } from "../limits.ts";
import { newId } from "../model/ids.ts";
import type { OperationTable } from "../operation.ts";
import { logMovesTopic } from "../operations/logMoves.ts";
import { operationFilter } from "../operations/patterns.ts";
import { servedOperations } from "../operations/table.ts";
import { kindOf } from "../operations/topics.ts";
import type { Touched } from "../wire.ts";
import { createClockWatch } from "./clockWatch.ts";
import { within } from "./deadline.ts";
import { byLane } from "./entry.ts";
import { sumFigures, sumOfMailboxes, WorkFigures } from "./figures.ts";
import { LogMover } from "./logMover.ts";
import { LongReads, type StartReader } from "./longReads.ts";
import { type Inbox, Mailbox } from "./mailbox.ts";
import { servePort } from "./ports.ts";
import { startPruner } from "./pruner.ts";
import { startReaper } from "./reaper.ts";
import { withoutRepetitions } from "./repeatedFaults.ts";
import { TokenUses } from "./tokenUse.ts";
import { startUpkeep } from "./upkeep.ts";
import { WriteProbe } from "./writeProbe.ts";

interface ServerOptions {
  /** The operations that it runs; by default all that there are. */
  readonly operations?: OperationTable | undefined;
  /**
   * The connections to the database; each runs one transaction at a time. All calls of a client go through the same
   * one, so that they run in order (D-040).
   */
  readonly drivers: readonly Driver[];
  readonly clock: Clock;
  readonly limits: Limits;
  /** The number of readers, and the function that starts one. Without it, all reads run in groups. */
  readonly readers?: { readonly count: number; start(options: ReaderOptions): ReturnType<StartReader> } | undefined;
  /** True when other processes may commit to the same database. */
  readonly shared: boolean;
  /** The archive of logs. Absent where archived logs cannot be read. */
  readonly logArchive?: LogArchive | undefined;
  /** True when sealed logs move to the archive; otherwise they are only read from there. */
  readonly movesLogs?: boolean;
  /** Receives the topics that a commit has touched, to report them to other processes. */
  onCommit?(topics: ReadonlySet<string>): void;
  onEvent(event: StoreEvent): void;
}

/** The parts of a server that its readers use. */
export interface ReaderOptions {
  readonly onDeath: Parameters<StartReader>[0];
  serverState(): ServerState;
  onEvent(event: StoreEvent): void;
}

export interface Server {
  /**
   * Adds a client that may call the operations matched by the patterns, such as "commands.claim" or "commands.*".
   * Without patterns it may call all of them.
   */
  connect(patterns?: readonly string[]): Inbox;
  /** Adds a client at the other end of this port. Closes the port when the server is closed. */
  serve(port: MessagePort, patterns?: readonly string[]): void;
  /** Runs the calls again that wait for one of these topics, after a commit of another process. */
  touch(topics: Touched): void;
  /**
   * Copies the database to an existing empty file, a few pages at a time between groups. Fails as `Driver.backUp`, and
   * with `incompatible` where the driver has none.
   */
  backUp: NonNullable<Driver["backUp"]>;
  /** Admits no further calls, runs the queued ones, and closes the database. */
  close(): Promise<void>;
}

export function createServer({
  operations = servedOperations,
  drivers,
  readers,
  clock,
  limits,
  shared,
  logArchive,
  movesLogs = false,
  onCommit,
  onEvent: onEachEvent,
}: ServerOptions): Server {
  const onEvent = withoutRepetitions(onEachEvent);
  const onFault = (error: StoreError): void => onEvent(faultEvent(error));
  const serverState = (): ServerState => ({
    counts: {
      ...sumFigures(mailboxes.map((mailbox) => mailbox.figures())),
      ...longReads?.figures(),
      ...blocks?.figures(),
      ...mover?.figures(),
    },
    lanes: byLane((lane) => sumFigures(mailboxes.map((mailbox) => mailbox.lanes()[lane]))),
    distributions: {
      ...sumOfMailboxes(mailboxes.map((mailbox) => mailbox.distributions())),
      ...work.distributions(),
    },
    ended: work.ended(),
    queueFullness: Math.max(...mailboxes.map(({ fullness }) => fullness)),
    lastWrite: writeProbe.last,
    database: (drivers[0] as Driver).facts(),
    uptime: clock.uptime(),
  });
  const work = new WorkFigures();
  const blocks = logArchive && new BlockReader(logArchive, limits);
  const clockWatch = createClockWatch(clock, limits);
  const wakeElsewhere = (kind: string): void => void mailboxes.some((mailbox) => mailbox.wakeOne(kind));
  const longReads =
    readers === undefined || readers.count === 0
      ? undefined
      : new LongReads({
          readers: readers.count,
          engine: (drivers[0] as Driver).engine,
          limits,
          start: (onDeath) => readers.start({ onDeath, serverState, onEvent }),
          onEvent,
        });
  const mailboxes = drivers.map((driver): Mailbox => {
    const dispatcher = createDispatcher({
      operations,
      driver,
      limits,
      serverState,
      block: blocks && ((name) => blocks.cached(name)),
      onInternal: onFault,
      onUsed: (tokenId, at, isFirst) => tokenUses.note(tokenId, at, isFirst),
      onMeasured: (measure) => work.measure(measure),
      onMoved: (moved) => work.countMoved(moved),
    });
    const mailbox = new Mailbox({
      dispatcher,
      engine: driver.engine,
      limits,
      clock,
      clockWatch,
      epoch: driver.epoch,
      longReads,
      blocks,
      dataVersion: shared ? driver.dataVersion : undefined,
      onCommit(topics) {
        for (const other of mailboxes) if (other !== mailbox) other.touch(topics);
        onCommit?.(topics);
        if (topics.has(logMovesTopic)) mover?.wake();
      },
      wakeElsewhere,
      onFault,
      onWrite: (failed) => writeProbe.note(failed),
    });
    return mailbox;
  });
  let clients = 0;
  const addClient = (mayCall: (name: string) => boolean): Inbox =>
    (mailboxes[clients++ % mailboxes.length] as Mailbox).connect(mayCall);
  const connect = (patterns?: readonly string[]) => addClient(operationFilter(patterns));
  // The server's own clients may also call operations that no port reaches.
  const addOwnClient = (): Inbox => addClient(() => true);
  const tokenUses = new TokenUses(addOwnClient(), limits);
  const probeInbox = addOwnClient();
  let probes = 0;
  const writeProbe = new WriteProbe(
    limits,
    () => probeInbox.post([++probes, false, ["maintenance.probe", [], undefined]]),
    (drivers[0] as Driver).findProblem,
  );
  const stopReaper = startReaper(addOwnClient(), limits.reapEveryMs, onEvent);
  const pruning = { everyMs: limits.pruneEveryMs, owner: newId() };
  const stopPruner = startPruner(addOwnClient(), pruning, onEvent);
  const { upkeep } = drivers[0] as Driver;
  // When more calls wait than one group takes, the time is theirs.
  const isBusy = (): boolean => mailboxes.some((mailbox) => mailbox.queued > limits.groupCalls);
  const stopUpkeep = upkeep === undefined ? () => undefined : startUpkeep(upkeep, limits, isBusy);
  const mover =
    logArchive && movesLogs ? new LogMover({ inbox: addOwnClient(), archive: logArchive, limits, onEvent }) : undefined;
  const ports = new Set<MessagePort>();
  let closing = false;
  return {
    connect,
    serve(port, patterns) {
      if (closing) {
        // A closed port shows the other end that no answer will come.
        port.close();
        return;
      }
      let refusals = 0;
      servePort(port, connect(patterns), {
        callsMax: limits.queueCalls,
        onRefused(reason) {
          if (refusals++ < refusalsMax) onEvent({ type: "message_refused", reason });
        },
        onCutOff: (refused) => onEvent({ type: "client_cut_off", refused }),
      });
      ports.add(port);
      port.on("close", () => ports.delete(port));
    },
    touch(topics) {
      for (const mailbox of mailboxes) mailbox.touch(topics);
      if (topics !== "all" && topics.includes(logMovesTopic)) mover?.wake();
      if (topics !== "all") for (const topic of topics) wakeElsewhere(kindOf(topic));
    },
    async backUp(target, watch) {
      const [{ backUp }] = drivers as readonly [Driver];
      if (backUp === undefined)
        throw new StoreError("incompatible", "the store cannot copy this database: use the database's own tools");
      await backUp(target, watch);
    },
    async close() {
      closing = true;
      stopReaper();
      stopPruner();
      stopUpkeep();
      clockWatch.stop();
      writeProbe.stop();
      const drain = async (): Promise<void> => {
        await mover?.stop();
        await tokenUses.flush();
        await Promise.all(mailboxes.map((mailbox) => mailbox.close()));
      };
      // When the database cannot be reached in time, closing the drivers fails the calls that are still queued.
      await within(limits.closeMs, drain());
      for (const mailbox of mailboxes) mailbox.endReads();
      // Before the connection that writes, which moves the WAL into the file when nobody else reads it.
      await longReads?.close();
      await Promise.all(drivers.map((driver) => driver.close()));
      // When the server has no thread that ends with it, an open port would keep the process alive, and its other end
      // waiting.
      for (const port of ports) port.close();
    },
  };
}

/** The number of refusals of one port that are reported, so that a peer cannot fill the log with them. */
const refusalsMax = 20;
