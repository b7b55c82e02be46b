// The metrics of calls and groups. Those of calls are named by the conventions for database clients; those of the side of the
// database have no names there.
import { type Attributes, type Histogram, type Meter, ValueType } from "@opentelemetry/api";
import type { CallTrace, GroupTrace, ServeTrace } from "../tracing.ts";
import { callAttributes, failureAttributes, groupAttributes } from "./attributes.ts";

/** The bounds that the conventions name for the duration of calls, in seconds. */
const callSeconds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];
/** Smaller ones for the parts of a call. */
const partSeconds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10];
const groupSizes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

export class StoreMetrics {
  readonly #call: Histogram;
  readonly #wait: Histogram;
  readonly #group: Histogram;
  readonly #size: Histogram;
  readonly #commit: Histogram;

  constructor(meter: Meter) {
    const seconds = (name: string, description: string, bounds: readonly number[]) =>
      meter.createHistogram(name, {
        description,
        unit: "s",
        valueType: ValueType.DOUBLE,
        advice: { explicitBucketBoundaries: [...bounds] },
      });
    this.#call = seconds("db.client.operation.duration", "Duration of database client operations.", callSeconds);
    this.#wait = seconds(
      "debug_server_db.wait.duration",
      "The time from the arrival of a call to the start of the transaction that answered it.",
      partSeconds,
    );
    this.#group = seconds("debug_server_db.group.duration", "The time that a transaction took.", partSeconds);
    this.#commit = seconds("debug_server_db.commit.duration", "The time that COMMIT took.", partSeconds);
    this.#size = meter.createHistogram("debug_server_db.group.size", {
      description: "The number of calls that shared a transaction.",
      unit: "{call}",
      valueType: ValueType.INT,
      advice: { explicitBucketBoundaries: groupSizes },
    });
  }

  countCall(call: CallTrace): void {
    const attributes = { ...callAttributes(call), ...failureAttributes(call, call.error) };
    this.#call.record(secondsBetween(call.startedAtMs, call.endedAtMs), attributes);
  }

  countServed(served: ServeTrace): void {
    const { group, startedAtMs, endedAtMs } = served;
    const attributes = { ...callAttributes(served), ...failureAttributes(served) };
    this.#wait.record(secondsBetween(startedAtMs, group?.startedAtMs ?? endedAtMs), attributes);
  }

  countGroup(group: GroupTrace): void {
    const attributes: Attributes = { ...groupAttributes(group), ...failureAttributes(group) };
    this.#group.record(secondsBetween(group.startedAtMs, group.endedAtMs), attributes);
    this.#size.record(group.size, attributes);
    if (group.commitMs !== undefined) this.#commit.record(group.commitMs / 1_000, attributes);
  }
}

/** A call that arrived with others of its message may have joined a group that had just begun. */
function secondsBetween(fromMs: number, toMs: number | undefined): number {
  return toMs === undefined ? 0 : Math.max(0, toMs - fromMs) / 1_000;
}
