// Measures acknowledged log appends on PostgreSQL: the store, and a peer that runs one transaction per call.
import pg from "pg";
import { createRunnerPool } from "../src/index.ts";
import { dealSlots, failures, onEach, type Round, summarize } from "./append.ts";
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

/** The figures of one contender. */
interface Figures {
  readonly name: string;
  /** The number of calls in flight on all threads together. */
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

/** The figures that the store should reach, relative to the peer with the same number of calls in flight. */
const targets = { throughput: { inFlight: 256, times: 5 }, latency: { inFlight: 1, times: 1.1 } };

/** The largest number of connections of the peer. */
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
  const manySlots = slots.splice(0, 256);
  const [singleSlot, singlePeerSlot] = slots.splice(0, 2) as [Slot, Slot];
  const threadSlots = dealSlots(slots, threads);
  const pool = createRunnerPool(store, {
    filename: new URL("./runner.ts", import.meta.url),
    threads,
    operations: ["logs.append"],
  });
  const connections = new pg.Pool({ connectionString: url, max: connectionsMax });
  connections.on("error", () => undefined);
  const append = appendOn(connections, lineOf(size));
  const peer = (peerSlots: Slot[]) => async (load: Pick<Load, "span" | "size">) => [
    await keepInFlight({ ...load, slots: peerSlots, inFlight: 1 }, append),
  ];
  const data = lineOf(size);
  const onThreads = (logs: number) => (load: Pick<Load, "span" | "size">) =>
    onEach(threadSlots, logs, { ...load, inFlight: perThread / logs }, (threadLoad) => pool.run<Tally>(threadLoad));
  const contenders: readonly Contender[] = [
    { name: "one transaction per call, 1 in flight", inFlight: 1, peer: true, run: peer([singlePeerSlot]) },
    {
      name: "debug-server-db, 1 in flight",
      inFlight: 1,
      peer: false,
      run: async (load) => [
        await keepInFlight({ ...load, slots: [singleSlot], inFlight: 1 }, async (slot) => {
          slot.offset = (
            await store.logs.append({ commandId: slot.commandId, fence: slot.fence, offset: slot.offset, data })
          ).ackOffset;
        }),
      ],
    },
    {
      name: `one transaction per call, 256 in flight, ${connectionsMax} connections`,
      inFlight: 256,
      peer: true,
      run: peer(manySlots),
    },
    { name: `debug-server-db, ${threads} x ${perThread}`, inFlight: 256, peer: false, run: onThreads(1) },
    {
      name: `debug-server-db, ${threads} x ${perThread}, ${perThread} logs per thread`,
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
  const usedSlots = [...manySlots, singleSlot, singlePeerSlot, ...threadSlots.flat()];
  const bytes = bytesAcknowledged(usedSlots);
  checkBytes("PostgreSQL", bytes, await bytesInStore(store, usedSlots));
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

/** Replaces the `?` of a statement by `$1`, `$2` and so on. */
function numberParameters(text: string): string {
  let count = 0;
  return text.replace(/\?/g, () => `$${++count}`);
}

/** Returns the usual first attempt: an append that is one transaction on a connection of a pool. */
function appendOn(connections: pg.Pool, line: Uint8Array): (slot: Slot) => Promise<void> {
  const texts = {
    find: numberParameters(findAttempt),
    advance: numberParameters(advance),
    insert: numberParameters(insertChunk),
  };
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
      const lineNumber = Number(attempt.next_line);
      await client.query({
        name: "advance",
        text: texts.advance,
        values: [slot.offset + size, lineNumber + 1, attempt.dropped_bytes, attempt.id],
      });
      await client.query({
        name: "insert",
        text: texts.insert,
        values: [attempt.id, slot.offset, size, lineNumber, 1, "stdout", new Date(), line],
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
  const { threads, seconds, rounds, size } = options;
  const columns = [
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
    const peer = contenders.find((candidate) => candidate.peer && candidate.inFlight === contender.inFlight) as Figures;
    const valuesOf = (figure: (round: Round) => number): number[] => contender.rounds.map(figure);
    const relativeToPeer = (figure: (round: Round) => number): number[] =>
      contender.rounds.map((round, index) => figure(round) / figure(peer.rounds[index] as Round));
    const { throughput, latency } = targets;
    return [
      contender.name,
      spread(valuesOf((round) => round.callsPerSecond)),
      spread(valuesOf((round) => round.p50Ms)),
      spread(valuesOf((round) => round.p99Ms)),
      spread(valuesOf((round) => round.worstMs)),
      format(median(valuesOf((round) => round.cpuUs))),
      spread(relativeToPeer((round) => round.callsPerSecond)) +
        (contender.inFlight === throughput.inFlight && !contender.peer ? `, target ${throughput.times}` : ""),
      spread(relativeToPeer((round) => round.p50Ms)) +
        (contender.inFlight === latency.inFlight && !contender.peer ? `, target ${latency.times}` : ""),
      failures(contender.rounds),
    ];
  });
  return [
    `Acknowledged appends of ${size} bytes on PostgreSQL ${server} over loopback, synchronous_commit = on. ` +
      `\`${threads} x N\` means ${threads} threads with N calls in flight each, ` +
      "to one log per thread unless the row says otherwise. " +
      `Figures are medians (lowest..highest) of ${rounds} rounds of ${seconds} s. ` +
      "The peer of a row is the nearest row above that runs one transaction per call.",
    "",
    table(columns, rows),
    "",
    `All ${format(bytes)} acknowledged bytes were found in the store. ${describe(machine)}.`,
  ].join("\n");
}
