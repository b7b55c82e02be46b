// The attributes of spans and metrics, by https://opentelemetry.io/docs/specs/semconv/database/
import type { Attributes } from "@opentelemetry/api";
import type { CallTrace, GroupTrace, ServeTrace } from "../tracing.ts";

/** The name of this store among database systems, for which the conventions have none. */
const systemName = "debug-server-db";

/** The names that the conventions have for the engines. */
const engineNames: Readonly<Record<GroupTrace["engine"], string>> = { sqlite: "sqlite", postgres: "postgresql" };

/** Returns the attributes of a call that take few values, which metrics also have. */
export function callAttributes({ operation, operations }: CallTrace | ServeTrace): Attributes {
  const entities = new Set((operations.length === 0 ? [operation] : operations).map(entityOf));
  const [entity = ""] = entities;
  return {
    "db.system.name": systemName,
    "db.operation.name": operation,
    ...(entities.size === 1 && entity !== "" ? { "db.collection.name": entity } : {}),
  };
}

/** Returns the attributes that only spans have. */
export function callDetails({ actor, requestId, operations }: CallTrace | ServeTrace): Attributes {
  return {
    // The conventions want no size of a batch of one.
    ...(operations.length > 1 ? { "db.operation.batch.size": operations.length } : {}),
    ...(actor === undefined ? {} : { "debug_server_db.actor": actor }),
    ...(requestId === undefined ? {} : { "debug_server_db.request_id": requestId }),
  };
}

/** Returns the attributes of the failure of a call or a group, if it failed. */
export function failureAttributes({ code }: { readonly code: string | undefined }, error?: unknown): Attributes {
  if (code !== undefined) return { "error.type": code, "db.response.status_code": code };
  return error === undefined ? {} : { "error.type": error instanceof Error ? error.name : "_OTHER" };
}

/** Returns the attributes of a group that take few values. */
export function groupAttributes({ engine, onReader }: GroupTrace): Attributes {
  return { "db.system.name": engineNames[engine], "debug_server_db.group.on_reader": onReader };
}

/** Returns the entity of an operation, such as "sessions"; nothing for one that has none, such as "atomically". */
function entityOf(operation: string): string {
  const end = operation.indexOf(".");
  return end === -1 ? "" : operation.slice(0, end);
}
