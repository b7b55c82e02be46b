// Measures calls of a remote store beside the same calls over a port: appends of 256 bytes to a log, and reads of a
// session, with 1, 16 and 256 in flight. The server runs in a process of its own, for both.
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type OwnedStore, openStore } from "../src/index.ts";
import { fixtures } from "../src/testing/index.ts";
import { lineOf } from "./load.ts";
import { describe, type Environment, environment, format, median, quantile, spread, table } from "./report.ts";
import { temporaryFolder } from "./setup.ts";

export interface RemoteOptions {
  readonly rounds: number;
  readonly seconds: number;
}

const ways = ["port", "TCP", "Unix socket"] as const;
const callNames = ["append", "read"] as const;
const inFlight = [1, 16, 256] as const;

interface Figure {
  readonly way: (typeof ways)[number];
  readonly call: (typeof callNames)[number];
  readonly inFlight: number;
  readonly callsPerSecond: number[];
  readonly p50Ms: number[];
}

export interface RemoteResult {
  readonly bench: "remote";
  readonly environment: Environment;
  readonly options: RemoteOptions;
  readonly figures: readonly Figure[];
}

export async function runRemote(options: RemoteOptions): Promise<RemoteResult> {
  const folder = temporaryFolder();
  const local = await openStore({ url: `sqlite:${join(folder, "port.db")}` });
  const server = fork(fileURLToPath(new URL("./remoteServer.ts", import.meta.url)), [folder]);
  const [{ token, url, socket }] = (await once(server, "message")) as [{ token: string; url: string; socket: string }];
  const stores: Record<Figure["way"], OwnedStore> = {
    port: local,
    TCP: await openStore({ url, token }),
    "Unix socket": await openStore({ url: socket, token }),
  };
  const figures = callNames.flatMap((call) =>
    inFlight.flatMap((many) =>
      ways.map((way): Figure => ({ way, call, inFlight: many, callsPerSecond: [], p50Ms: [] })),
    ),
  );
  for (let round = 0; round <= options.rounds; round++)
    for (const figure of figures) {
      const measured = await measure(stores[figure.way], figure, options.seconds);
      // The first round warms up.
      if (round === 0) continue;
      figure.callsPerSecond.push(measured.callsPerSecond);
      figure.p50Ms.push(measured.p50Ms);
    }
  for (const store of Object.values(stores)) await store.close();
  server.send("end");
  await once(server, "exit");
  return { bench: "remote", environment: environment(), options, figures };
}

async function measure(store: OwnedStore, { call, inFlight: many }: Figure, seconds: number) {
  const { session } = await fixtures(store).session();
  const line = lineOf(256);
  const latenciesMs: number[] = [];
  const endMs = performance.now() + seconds * 1_000;
  const lane = async (): Promise<void> => {
    // Each lane has a log of its own.
    const { claim } = call === "append" ? await fixtures(store).claim() : { claim: undefined };
    for (let offset = 0; performance.now() < endMs; offset += line.byteLength) {
      const startedMs = performance.now();
      if (claim === undefined) await store.sessions.get({ sessionId: session.id });
      else await store.logs.append({ commandId: claim.command.id, fence: claim.fence, offset, data: line });
      latenciesMs.push(performance.now() - startedMs);
    }
  };
  await Promise.all(Array.from({ length: many }, lane));
  const p50Ms = quantile(Float64Array.from(latenciesMs).sort(), 0.5);
  return { callsPerSecond: latenciesMs.length / seconds, p50Ms };
}

export function renderRemote({ environment: where, options, figures }: RemoteResult): string {
  const rows = figures.map(({ way, call, inFlight: many, callsPerSecond, p50Ms }) => {
    const port = figures.find((one) => one.way === "port" && one.call === call && one.inFlight === many);
    const ratios = callsPerSecond.map((calls, round) => calls / (port?.callsPerSecond[round] ?? calls));
    return [`${call}, ${many} in flight, ${way}`, spread(callsPerSecond), spread(ratios), format(median(p50Ms))];
  });
  const title = `${describe(where)}; ${options.rounds} rounds of ${options.seconds} s: medians, least..most`;
  return `${title}\n\n${table(["calls", "calls/s", "of the port", "p50 ms"], rows)}`;
}
