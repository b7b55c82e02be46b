// Prepares a bench before its clock starts: a folder with a store and running commands with empty logs. Afterwards it
// checks that the bytes are there.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { type OwnedStore, openStore } from "../src/index.ts";
import { fixtures } from "../src/testing/index.ts";
import type { Slot } from "./load.ts";

/** Larger than any run can fill, so that no log is cut. */
export const logBytes = 2 ** 40;
export const leaseMs = 86_400_000;

/** Removed when the process ends, however it ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "debug-server-db-bench-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));
  return folder;
}

/** A store in a new file, and so many logs to append to. */
export async function newStore(path: string, slotCount: number): Promise<{ store: OwnedStore; slots: Slot[] }> {
  return newStoreAt(`sqlite:${path}`, slotCount);
}

export async function newStoreAt(url: string, slotCount: number): Promise<{ store: OwnedStore; slots: Slot[] }> {
  const store = await openStore({ url, synchronous: "full", limits: { logBytes } });
  return { store, slots: await runCommands(store, slotCount) };
}

/** The same file for those that do without the store. */
export async function newFile(path: string, slotCount: number): Promise<Slot[]> {
  const { store, slots } = await newStore(path, slotCount);
  await store.close();
  return slots;
}

const commandsPerSession = 256;

/** Running commands, each with a lease that outlives the bench. */
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
      if (claim === undefined) throw new Error("a command that was enqueued could not be claimed");
      slots.push({ commandId: claim.command.id, fence: claim.fence, offset: 0 });
    }
  }
  return slots;
}

/** Counted in the chunks themselves, after everybody has closed the file. */
export function bytesInFile(path: string): number {
  const db = new Database(path, { readonly: true });
  try {
    return db.prepare("SELECT coalesce(sum(length(data)), 0) FROM log_chunks").pluck().get() as number;
  } finally {
    db.close();
  }
}

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

export function bytesAcknowledged(slots: readonly Slot[]): number {
  return slots.reduce((sum, { offset }) => sum + offset, 0);
}

/** A bench that lost bytes has measured nothing. */
export function checkBytes(name: string, acknowledged: number, stored: number): void {
  if (acknowledged !== stored)
    throw new Error(`${name}: ${acknowledged} bytes were acknowledged and ${stored} are stored`);
}
