// Acknowledged log appends on PostgreSQL: the store, beside a transaction for each call on connections of one's own.
import pg from "pg";
import { createRunnerPool } from "../src/index.ts";
import { dealt, failures, onEach, type Round, summarize } from "./append.ts";
import { keepInFlight, type Load, lineOf, nextSpan, type Slot, type Tally } from "./load.ts";
import { describe, type Environment, environment, format, median, spread, table } from "./report.ts";
import { bytesAcknowledged, bytesInStore, checkBytes, newStoreAt } from "./setup.ts";
import { advance, findAttempt, insertChunk } from "./statements.ts";

export interface PostgresOptions {
  readonly threads: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly size: number;
}

interface Figures {
  readonly name: string;
  /** Calls in flight, over all threads. */
  readonly inFlight: number;
  readonly peer: boolean;
  readonly rounds: readonly Round[];
}

export interface PostgresResult {
  readonly bench: "postgres";
  readonly environment: Environment;
  readonly server: string;
  readonly options: PostgresOptions;
  readonly contenders: readonly Figures[];
  readonly bytes: number;
}

/** As multiples of a transaction for each call, with as many in flight. */
const targets = { throughput: { inFlight: 256, times: 5 }, latency: { inFlight: 1, times: 1.1 } };

/** The most connections of the peer, which opens no more than it has calls in flight. */
const connectionsMax = 16;

interface Contender {
  readonly name: string;
  readonly inFlight: number;
  readonly peer: boolean;
  run(load: Pick<Load, "span" | "size">): Promise<Tally[]>;
}

export async function runPostgres(url: string, options: PostgresOptions): Promise<PostgresResult> {
  const { threads, seconds, rounds, size } = options;
  const perThread = Math.ceil(256 / threads);
  const { store, slots } = await newStoreAt(url, threads * perThread * 2 + 512);
  const own = slots.splice(0, 256);
  const [alone] = slots.splice(0, 1) as [Slot];
  const [aloneOfPeer] = slots.splice(0, 1) as [Slot];
  const dealtSlots = dealt(slots, threads);
  const all = [...own, alone, aloneOfPeer, ...slots];
  const pool = createRunnerPool(store, {
    filename: new URL("./runner.ts", import.meta.url),
    threads,
    operations: ["logs.append"],
  });
  const connections = new pg.Pool({ connectionString: url, max: connectionsMax });
  connections.on("error", () => undefined);
  const append = appendOn(connections, lineOf(size));
  const peer = (held: Slot[]) => async (load: Pick<Load, "span" | "size">) => [
    await keepInFlight({ ...load, slots: held, inFlight: 1 }, append),
  ];
  const data = lineOf(size);
  const onThreads = (logs: number) => (load: Pick<Load, "span" | "size">) =>
    onEach(dealtSlots, logs, { ...load, inFlight: perThread / logs }, (load_) => pool.run<Tally>(load_));
  const contenders: readonly Contender[] = [
    { name: "a transaction for each call, 1 in flight", inFlight: 1, peer: true, run: peer([aloneOfPeer]) },
    {
      name: "debug-server-db, 1 in flight",
      inFlight: 1,
      peer: false,
      run: async (load) => [
        await keepInFlight({ ...load, slots: [alone], inFlight: 1 }, async (slot) => {
          slot.offset = (
            await store.logs.append({ commandId: slot.commandId, fence: slot.fence, offset: slot.offset, data })
          ).ackOffset;
        }),
      ],
    },
    {
      name: `a transaction for each call, 256 in flight, ${connectionsMax} connections`,
      inFlight: 256,
      peer: true,
      run: peer(own),
    },
    { name: `debug-server-db, ${threads} x ${perThread}`, inFlight: 256, peer: false, run: onThreads(1) },
    {
      name: `debug-server-db, ${threads} x ${perThread} to ${perThread} logs`,
      inFlight: 256,
      peer: false,
      run: onThreads(perThread),
    },
  ];
  const figures = contenders.map(({ name, inFlight, peer: isPeer }) => ({
    name,
    inFlight,
    peer: isPeer,
    rounds: [] as Round[],
  }));
  for (const contender of contenders)
    for (const warmUp of [0, Math.min(1, seconds)]) await contender.run({ span: nextSpan(warmUp), size });
  for (let round = 0; round < rounds; round++) {
    for (const [index, contender] of contenders.entries()) {
      const cpu = process.cpuUsage();
      const tallies = await contender.run({ span: nextSpan(seconds), size });
      const { user, system } = process.cpuUsage(cpu);
      figures[index]?.rounds.push(summarize(tallies, seconds, user + system));
    }
  }
  const { rows } = await connections.query<{ server_version: string }>("SHOW server_version");
  const slotsNow = [...all.slice(0, 258), ...dealtSlots.flat()];
  const bytes = bytesAcknowledged(slotsNow);
  checkBytes("PostgreSQL", bytes, await bytesInStore(store, slotsNow));
  await pool.close();
  await store.close();
  await connections.end();
  return {
    bench: "postgres",
    environment: environment(),
    server: rows[0]?.server_version ?? "unknown",
    options,
    contenders: figures,
    bytes,
  };
}

function numbered(text: string): string {
  let count = 0;
  return text.replace(/\?/g, () => `$${++count}`);
}

/** Returns the obvious implementation: a transaction for each call, on a connection of a pool. */
function appendOn(connections: pg.Pool, line: Uint8Array): (slot: Slot) => Promise<void> {
  const texts = { find: numbered(findAttempt), advance: numbered(advance), insert: numbered(insertChunk) };
  const size = line.byteLength;
  return async (slot) => {
    const client = await connections.connect();
    try {
      await client.query("BEGIN");
      const { rows } = await client.query({
        name: "find",
        text: `${texts.find} FOR UPDATE`,
        values: [slot.commandId, slot.fence],
      });
      const [attempt] = rows;
      if (attempt?.log_state !== "open" || Number(attempt.next_offset) !== slot.offset)
        throw new Error("the append was refused");
      const line_ = Number(attempt.next_line);
      await client.query({
        name: "advance",
        text: texts.advance,
        values: [slot.offset + size, line_ + 1, attempt.dropped_bytes, attempt.id],
      });
      await client.query({
        name: "insert",
        text: texts.insert,
        values: [attempt.id, slot.offset, size, line_, 1, "stdout", new Date(), line],
      });
      await client.query("COMMIT");
      slot.offset += size;
    } catch (error) {
      await client.query("ROLLBACK");
      throw error;
    } finally {
      client.release();
    }
  };
}

export function renderPostgres({ environment: machine, server, options, contenders, bytes }: PostgresResult): string {
  const { seconds, rounds, size } = options;
  const heads = [
    "contender",
    "calls/s",
    "p50 ms",
    "p99 ms",
    "worst ms",
    "CPU µs per call",
    "throughput / peer",
    "p50 / peer",
    "failed attempts",
  ];
  const rows = contenders.map((contender) => {
    const peer = contenders.find((one) => one.peer && one.inFlight === contender.inFlight) as Figures;
    const of = (figure: (round: Round) => number): number[] => contender.rounds.map(figure);
    const toPeer = (figure: (round: Round) => number): number[] =>
      contender.rounds.map((round, index) => figure(round) / figure(peer.rounds[index] as Round));
    const { throughput, latency } = targets;
    return [
      contender.name,
      spread(of((round) => round.callsPerSecond)),
      spread(of((round) => round.p50Ms)),
      spread(of((round) => round.p99Ms)),
      spread(of((round) => round.worstMs)),
      format(median(of((round) => round.cpuUs))),
      spread(toPeer((round) => round.callsPerSecond)) +
        (contender.inFlight === throughput.inFlight && !contender.peer ? `, target ${throughput.times}` : ""),
      spread(toPeer((round) => round.p50Ms)) +
        (contender.inFlight === latency.inFlight && !contender.peer ? `, target ${latency.times}` : ""),
      failures(contender.rounds),
    ];
  });
  return [
    `Acknowledged appends of ${size} bytes on PostgreSQL ${server} over loopback, synchronous_commit = on; medians (and extremes) of ${rounds} rounds of ${seconds} s. The peer of a row is the nearest row above that runs one transaction per call with the same number of calls in flight.`,
    "",
    table(heads, rows),
    "",
    `All ${format(bytes)} acknowledged bytes were found in the store. ${describe(machine)}.`,
  ].join("\n");
}
