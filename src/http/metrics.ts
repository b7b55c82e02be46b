// The metrics of a store and of its API: what each is, and where its values come from. All labels have a bound.
import { StoreError } from "../errors.ts";
import type { Distribution } from "../model/distributions.ts";
import { logStates } from "../model/logs.ts";
import {
  artifactStates,
  commandStates,
  debugStates,
  environmentStates,
  fileKinds,
  retentionKinds,
  runnerStates,
  sessionStates,
  worktreeStates,
} from "../model/vocabulary.ts";
import { packageVersion } from "../package.ts";
import type { Store } from "../storeTypes.ts";
import type { CallMeter } from "./callMeter.ts";
import type { MetricType, Sample, WrittenMetric } from "./exposition.ts";

/** A store as far as metrics need it. */
export interface MeasuredStore {
  readonly maintenance: Pick<Store["maintenance"], "health" | "stats">;
  readonly changes: Pick<Store["changes"], "consumers">;
}

type Answer<Call extends (...args: never[]) => Promise<unknown>> = Awaited<ReturnType<Call>>;

/** The figures of one moment. What the store did not answer in time is absent. */
export interface MetricFigures {
  readonly stats?: Answer<Store["maintenance"]["stats"]> | undefined;
  readonly health?: Answer<Store["maintenance"]["health"]> | undefined;
  readonly consumers?: Answer<Store["changes"]["consumers"]>["consumers"] | undefined;
  /** The calls over HTTP. Absent where nobody counts them. */
  readonly calls?: CallMeter | undefined;
}

/** A metric, and how its values follow from the figures. */
export interface MetricFamily {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly labels: readonly string[];
  /**
   * The thing that is measured: the store, of which all servers of a database report the same, or the server, which
   * counts anew when it starts.
   */
  readonly of: "store" | "server";
  samples(figures: MetricFigures): Iterable<Sample>;
}

type Details<Label extends string> = Omit<MetricFamily, "labels" | "samples"> & {
  readonly labels?: readonly Label[];
  samples(figures: MetricFigures): Iterable<Sample<Label>> | undefined;
};

function family<Label extends string = never>({ labels = [], samples, ...rest }: Details<Label>): MetricFamily {
  return { ...rest, labels, samples: (figures) => samples(figures) ?? [] };
}

const secondsOf = (ms: number): number => ms / 1_000;

/** Returns a distribution of milliseconds as one of seconds. */
function inSeconds({ upTo, counts, sum }: Distribution): Distribution {
  return { upTo: upTo.map(secondsOf), counts, sum: secondsOf(sum) };
}

/** Returns one value if there is any. */
function one(value: number | Distribution | null | undefined): readonly Sample<never>[] {
  return value === undefined || value === null ? [] : [{ value }];
}

/** Returns a value for each key of a record. */
function each<Label extends string, Value>(
  label: Label,
  values: Readonly<Record<string, Value>> | undefined,
  pick: (value: Value) => number | Distribution,
): readonly Sample<Label>[] {
  return Object.entries(values ?? {}).map(([key, value]) => ({
    labels: { [label]: key } as Record<Label, string>,
    value: pick(value),
  }));
}

const itself = (value: number): number => value;

/** Returns the number of rows in each of these states; 0 for those that no row has. */
function byState(
  { stats }: MetricFigures,
  entity: string,
  states: readonly string[],
): readonly Sample<"state">[] | undefined {
  const rows = stats?.rows[entity] ?? {};
  return stats && states.map((state) => ({ labels: { state }, value: rows[state] ?? 0 }));
}

function rowsOf(entity: string, states: readonly string[], what: string): MetricFamily {
  return family<"state">({
    name: `debug_server_${entity}`,
    type: "gauge",
    of: "store",
    labels: ["state"],
    help: `${what} by state.`,
    samples: (figures) => byState(figures, entity, states),
  });
}

/** Returns a size of the database by its name there; none where the engine does not tell. */
function sizeOf(name: string, figure: string, help: string): MetricFamily {
  return family({
    name,
    type: "gauge",
    of: "store",
    help,
    samples: ({ stats }) => {
      const bytes = stats?.database[figure];
      return one(typeof bytes === "number" ? bytes : undefined);
    },
  });
}

/** The states in which rows hold a lease. */
const leaseStates = { worktree: ["creating", "leased", "evicting"], command: ["running", "cancelling"] } as const;

/** All metrics, in the order in which they are written. The guide lists them from here. */
export const metricFamilies: readonly MetricFamily[] = [
  family<"version" | "engine">({
    name: "debug_server_info",
    type: "gauge",
    of: "server",
    labels: ["version", "engine"],
    help: "1, with the version of this package and the engine of the database as labels.",
    samples: ({ stats }) =>
      stats && [{ labels: { version: packageVersion, engine: String(stats.database.engine ?? "unknown") }, value: 1 }],
  }),
  family({
    name: "debug_server_ready",
    type: "gauge",
    of: "server",
    help: "1 while the store can take work, as /readyz reports it, otherwise 0.",
    samples: ({ health }) => one(health?.ready === true ? 1 : 0),
  }),
  family<"check">({
    name: "debug_server_check_ok",
    type: "gauge",
    of: "server",
    labels: ["check"],
    help: "1 for each health check that is ok, otherwise 0. ping: the store has answered in time.",
    samples: ({ health }) => [
      { labels: { check: "ping" }, value: health === undefined ? 0 : 1 },
      ...each("check", health?.checks as Record<string, { readonly ok: boolean }> | undefined, ({ ok }) => Number(ok)),
    ],
  }),
  family<"operation" | "code">({
    name: "debug_server_calls_total",
    type: "counter",
    of: "server",
    labels: ["operation", "code"],
    help: "Calls over HTTP by operation and code of the failure, or ok. A stream is counted when it ends.",
    samples: ({ calls }) =>
      calls && [...calls.codes()].map(([operation, code, value]) => ({ labels: { operation, code }, value })),
  }),
  family<"operation">({
    name: "debug_server_call_duration_seconds",
    type: "histogram",
    of: "server",
    labels: ["operation"],
    help: "Times from a call over HTTP to its answer, which include its wait; of a stream to its beginning.",
    samples: ({ calls }) =>
      calls && [...calls.timesMs()].map(([operation, times]) => ({ labels: { operation }, value: inSeconds(times) })),
  }),
  family<"operation">({
    name: "debug_server_streams",
    type: "gauge",
    of: "server",
    labels: ["operation"],
    help: "Streams over HTTP that are open.",
    samples: ({ calls }) =>
      calls && [...calls.streams()].map(([operation, value]) => ({ labels: { operation }, value })),
  }),
  family<"lane">({
    name: "debug_server_queue_calls",
    type: "gauge",
    of: "server",
    labels: ["lane"],
    help: "Calls that wait for their turn.",
    samples: ({ stats }) => each("lane", stats?.lanes, ({ queued = 0 }) => queued),
  }),
  family<"lane">({
    name: "debug_server_queue_wait_seconds",
    type: "histogram",
    of: "server",
    labels: ["lane"],
    help: "Times that calls have waited for their turn.",
    samples: ({ stats }) => each("lane", stats?.distributions.waitMs, inSeconds),
  }),
  family({
    name: "debug_server_queue_fullness_ratio",
    type: "gauge",
    of: "server",
    help: "Fill level of the fullest queue of a client, from 0 to 1.",
    samples: ({ health }) => one(health && health.checks.queue.percent / 100),
  }),
  family({
    name: "debug_server_parked_calls",
    type: "gauge",
    of: "server",
    help: "Calls that wait for something to happen, such as long polls.",
    samples: ({ stats }) => one(stats?.serving.parked),
  }),
  family({
    name: "debug_server_store_clients",
    type: "gauge",
    of: "server",
    help: "Clients of the store: threads, remote stores, and the server itself.",
    samples: ({ stats }) => one(stats?.serving.clients),
  }),
  family({
    name: "debug_server_group_calls",
    type: "histogram",
    of: "server",
    help: "Calls that have shared a transaction.",
    samples: ({ stats }) => one(stats?.distributions.groupCalls),
  }),
  family({
    name: "debug_server_commit_duration_seconds",
    type: "histogram",
    of: "server",
    help: "Times that COMMITs of changed rows took.",
    samples: ({ stats }) => one(stats && inSeconds(stats.distributions.commitMs)),
  }),
  family({
    name: "debug_server_busy_retries_total",
    type: "counter",
    of: "server",
    help: "Transactions that could not begin, because another process held the write lock or the database did not answer.",
    samples: ({ stats }) => one(stats?.serving.busyRetries),
  }),
  family({
    name: "debug_server_clock_jumps_total",
    type: "counter",
    of: "server",
    help: "Times that the clock was set or the process stood still.",
    samples: ({ stats }) => one(stats?.serving.clockJumps),
  }),
  sizeOf("debug_server_database_size_bytes", "file_bytes", "Size of the SQLite file."),
  sizeOf("debug_server_database_free_bytes", "free_bytes", "Part of the SQLite file that holds nothing."),
  sizeOf("debug_server_wal_size_bytes", "wal_bytes", "Size of the write-ahead log of SQLite."),
  sizeOf(
    "debug_server_wal_pending_bytes",
    "wal_pending_bytes",
    "Part of a large write-ahead log that is not in the database yet, because a reader holds it.",
  ),
  family({
    name: "debug_server_space_left_bytes",
    type: "gauge",
    of: "store",
    help: "Bytes that can still be stored.",
    samples: ({ health }) => one(health?.checks.space.leftBytes),
  }),
  family({
    name: "debug_server_sealed_logs_size_bytes",
    type: "gauge",
    of: "store",
    help: "Size of the logs of attempts that have ended.",
    samples: ({ stats }) => one(stats?.logBytes),
  }),
  rowsOf("sessions", sessionStates, "Sessions"),
  rowsOf("commands", commandStates, "Commands"),
  rowsOf("worktrees", worktreeStates, "Worktrees"),
  rowsOf("environments", environmentStates, "Environments"),
  rowsOf("runners", runnerStates, "Runners"),
  rowsOf("debug_sessions", debugStates, "Debug sessions"),
  rowsOf("artifacts", artifactStates, "Artifacts"),
  rowsOf("logs", logStates, "Logs of attempts"),
  family({
    name: "debug_server_patches",
    type: "gauge",
    of: "store",
    help: "Recorded patches.",
    samples: ({ stats }) => one(stats && (stats.rows.patches?.recorded ?? 0)),
  }),
  family<"kind">({
    name: "debug_server_discarded_files",
    type: "gauge",
    of: "store",
    labels: ["kind"],
    help: "Files that no row names any more and that no collector has removed yet.",
    samples: ({ stats }) =>
      stats && fileKinds.map((kind) => ({ labels: { kind }, value: stats.rows.discarded_files?.[kind] ?? 0 })),
  }),
  family<"kind" | "state">({
    name: "debug_server_leases",
    type: "gauge",
    of: "store",
    labels: ["kind", "state"],
    help: "Worktrees and commands that are leased, by state.",
    samples: (figures) =>
      Object.entries(leaseStates).flatMap(([kind, states]) =>
        (byState(figures, `${kind}s`, states) ?? []).map(({ labels, value }) => ({
          labels: { kind, state: labels?.state ?? "" },
          value,
        })),
      ),
  }),
  family<"of">({
    name: "debug_server_oldest_age_seconds",
    type: "gauge",
    of: "store",
    labels: ["of"],
    help: "Age of the oldest queued command, running command and lease of a worktree; 0 when there is none.",
    samples: ({ stats }) =>
      stats && [
        { labels: { of: "queued_command" }, value: secondsOf(stats.ages.queuedMs ?? 0) },
        { labels: { of: "running_command" }, value: secondsOf(stats.ages.runningMs ?? 0) },
        { labels: { of: "worktree_lease" }, value: secondsOf(stats.ages.leasedMs ?? 0) },
      ],
  }),
  family<"outcome">({
    name: "debug_server_sessions_ended_total",
    type: "counter",
    of: "server",
    labels: ["outcome"],
    help: "Sessions that have ended.",
    samples: ({ stats }) => each("outcome", stats?.ended.sessions, itself),
  }),
  family<"outcome">({
    name: "debug_server_commands_ended_total",
    type: "counter",
    of: "server",
    labels: ["outcome"],
    help: "Commands that have ended, with those that were cancelled before they ran.",
    samples: ({ stats }) => each("outcome", stats?.ended.commands, itself),
  }),
  family({
    name: "debug_server_command_time_to_start_seconds",
    type: "histogram",
    of: "server",
    help: "Times from the queueing of a command to its first claim, which include the commands before it in its session.",
    samples: ({ stats }) => one(stats && inSeconds(stats.distributions.commandStartMs)),
  }),
  family<"outcome">({
    name: "debug_server_command_duration_seconds",
    type: "histogram",
    of: "server",
    labels: ["outcome"],
    help: "Times from the last claim of a command to its end.",
    samples: ({ stats }) => each("outcome", stats?.distributions.commandMs, inSeconds),
  }),
  family<"consumer">({
    name: "debug_server_feed_consumer_lag_changes",
    type: "gauge",
    of: "store",
    labels: ["consumer"],
    help: "Changes that a registered consumer of the feed has not handled yet.",
    samples: ({ consumers }) => consumers?.map(({ name, lag }) => ({ labels: { consumer: name }, value: lag })),
  }),
  family<"consumer">({
    name: "debug_server_feed_consumer_lag_seconds",
    type: "gauge",
    of: "store",
    labels: ["consumer"],
    help: "Age of the first change that a consumer of the feed has not handled yet; 0 when there is none.",
    samples: ({ consumers }) =>
      consumers?.map(({ name, lagMs }) => ({ labels: { consumer: name }, value: secondsOf(lagMs ?? 0) })),
  }),
  family<"kind">({
    name: "debug_server_pruned_rows_total",
    type: "counter",
    of: "store",
    labels: ["kind"],
    help: "Rows that retention has removed.",
    samples: ({ stats }) =>
      stats && retentionKinds.map((kind) => ({ labels: { kind }, value: stats.retention.rows[kind] ?? 0 })),
  }),
];

/** Asks a store for its figures. Never fails on a store that does not answer: then its figures are absent. */
export async function readFigures(
  store: MeasuredStore,
  calls: CallMeter | undefined,
  timeoutMs: number,
): Promise<MetricFigures> {
  const options = { timeoutMs };
  const [stats, health, consumers] = await Promise.all([
    store.maintenance.stats({}, options).catch(unanswered),
    store.maintenance.health({}, options).catch(unanswered),
    store.changes.consumers({}, options).catch(unanswered),
  ]);
  return { stats, health, consumers: consumers?.consumers, calls };
}

function unanswered(error: unknown): undefined {
  if (!(error instanceof StoreError)) throw error;
}

/** Returns the metrics that have values. */
export function metricsOf(figures: MetricFigures): readonly WrittenMetric[] {
  return metricFamilies.flatMap(({ name, type, help, samples }) => {
    const found = [...samples(figures)];
    return found.length === 0 ? [] : [{ name, type, help, samples: found }];
  });
}
