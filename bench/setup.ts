// Prepares what a benchmark needs before its clock starts: a folder, a store in it, and running commands with empty
// logs. Afterwards it counts the bytes that were stored.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { type OwnedStore, openStore } from "../src/index.ts";
import { fixtures } from "../src/testing/index.ts";
import type { Slot } from "./load.ts";

/** More bytes than any run can append, so that no log is truncated. */
export const logBytes = 2 ** 40;
/** The time to live of every lease. It outlives the benchmark. */
export const leaseMs = 86_400_000;

/** Creates a folder that is removed when the process exits, also by SIGINT or SIGTERM. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "debug-server-db-bench-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));
  return folder;
}

/** Opens a store in a new file, with `slotCount` logs to append to. */
export async function newStore(path: string, slotCount: number): Promise<{ store: OwnedStore; slots: Slot[] }> {
  return newStoreAt(`sqlite:${path}`, slotCount);
}

/** Opens the store at `url`, with `slotCount` logs to append to. */
export async function newStoreAt(url: string, slotCount: number): Promise<{ store: OwnedStore; slots: Slot[] }> {
  const store = await openStore({ url, synchronous: "full", limits: { logBytes } });
  return { store, slots: await runCommands(store, slotCount) };
}

/** Creates the same file for a contender that uses it without the store. */
export async function newFile(path: string, slotCount: number): Promise<Slot[]> {
  const { store, slots } = await newStore(path, slotCount);
  await store.close();
  return slots;
}

const commandsPerSession = 256;

/** Starts commands, each with a lease that outlives the benchmark. */
export async function runCommands(store: OwnedStore, count: number): Promise<Slot[]> {
  const { session, runner: register } = fixtures(store);
  const { runner } = await register({ ttlMs: leaseMs });
  const slots: Slot[] = [];
  while (slots.length < count) {
    const length = Math.min(commandsPerSession, count - slots.length);
    const { session: parent } = await session({
      maxParallel: length,
      commands: Array.from({ length }, () => ({ argv: ["true"] })),
    });
    const claims = await Promise.all(
      Array.from({ length }, () => store.commands.claim({ runnerId: runner.id, sessionId: parent.id, ttlMs: leaseMs })),
    );
    for (const claim of claims) {
      if (claim === undefined) throw new Error("an enqueued command could not be claimed");
      slots.push({ commandId: claim.command.id, fence: claim.fence, offset: 0 });
    }
  }
  return slots;
}

/** Counts the bytes of all log chunks in a file. No other connection may be open. */
export function bytesInFile(path: string): number {
  const db = new Database(path, { readonly: true });
  try {
    return db.prepare("SELECT coalesce(sum(length(data)), 0) FROM log_chunks").pluck().get() as number;
  } finally {
    db.close();
  }
}

/** Counts the bytes of the logs of `slots` by reading them through the store. */
export async function bytesInStore(store: OwnedStore, slots: readonly Slot[]): Promise<number> {
  let bytes = 0;
  for (const { commandId } of slots) {
    for (let offset = 0; ; ) {
      const { chunks, nextOffset } = await store.logs.read({ commandId, offset, maxBytes: 1_048_576 });
      if (chunks.length === 0) break;
      for (const { data } of chunks) bytes += data.byteLength;
      offset = nextOffset;
    }
  }
  return bytes;
}

/** Returns the sum of the bytes that were acknowledged to the slots. */
export function bytesAcknowledged(slots: readonly Slot[]): number {
  return slots.reduce((sum, { offset }) => sum + offset, 0);
}

/** Fails unless the stored bytes are those that were acknowledged: otherwise the figures mean nothing. */
export function checkBytes(name: string, acknowledged: number, stored: number): void {
  if (acknowledged !== stored)
    throw new Error(`${name}: ${acknowledged} bytes were acknowledged, but ${stored} bytes are stored`);
}

/** Returns the number of sessions in a file. */
export function sessionsIn(path: string): number {
  const db = new Database(path, { readonly: true });
  try {
    return db.prepare("SELECT count(*) FROM sessions").pluck().get() as number;
  } finally {
    db.close();
  }
}
