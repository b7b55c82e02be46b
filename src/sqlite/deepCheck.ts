// Checks the pages, the indexes and the references of a SQLite file, over a connection that only reads.
import Database from "better-sqlite3";
import type { Finding } from "../model/findings.ts";
import { translate } from "./errors.ts";

/** The largest number of faults that are reported. */
const faultsMax = 100;

/**
 * Runs SQLite's own checks on a file that other processes may have open. Fails with `corrupt` when the file cannot even
 * be read.
 */
export function checkFile(path: string): Finding[] {
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { readonly: true, fileMustExist: true });
    const faults = db.pragma(`integrity_check(${faultsMax})`) as { integrity_check: string }[];
    const references = db
      .prepare(`SELECT "table" AS child, rowid AS row, parent FROM pragma_foreign_key_check LIMIT ?`)
      .all(faultsMax) as { child: string; row: number | null; parent: string }[];
    return [
      ...faults
        .filter(({ integrity_check: text }) => text !== "ok")
        .map(({ integrity_check: text }) => ({ check: fileChecks.pages.name, id: path, found: text, expected: "ok" })),
      ...references.map(({ child, row, parent }) => ({
        check: fileChecks.references.name,
        id: `${child} ${row ?? ""}`.trim(),
        found: null,
        expected: parent,
      })),
    ];
  } catch (error) {
    throw translate(error);
  } finally {
    db?.close();
  }
}

/** The rules that SQLite itself checks, and the advice about what breaks them. */
export const fileChecks = {
  pages: {
    name: "file-integrity",
    says: "The pages and the indexes of the file are undamaged.",
    remedy: "Restore a backup. The disk or the memory of the machine may be faulty.",
  },
  references: {
    name: "file-references",
    says: "Each row that a row refers to exists.",
    remedy: "Another program has written to the file. Restore a backup, or delete the rows with it.",
  },
} as const;
