// The log archive that a store is opened with.
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { StoreError } from "../errors.ts";
import { expandHome, logArchiveVariable, type Place } from "../place.ts";
import { type LogArchive, localArchive } from "./logArchive.ts";

/** True for the default folder, a folder, or an archive of the caller's own. */
export type LogArchiveOption = boolean | { readonly folder: string } | LogArchive;

export interface ChosenArchive {
  readonly archive: { readonly folder: string } | LogArchive | undefined;
  /** True when sealed logs move there; otherwise they are only read from there. */
  readonly movesLogs: boolean;
}

/** The name of the default folder, beside the database file. */
const folderName = "log-archive";

/**
 * Chooses the archive. The folder of the variable, or the default one if it exists, is read from without the option, so
 * that the command line finds what a server has moved. Fails with `invalid_input`.
 */
export function chooseArchive(
  option: LogArchiveOption | undefined,
  place: Place,
  env: NodeJS.ProcessEnv,
): ChosenArchive {
  if (option === false) return { archive: undefined, movesLogs: false };
  const variable = env[logArchiveVariable]?.trim() ?? "";
  const beside =
    place.engine === "sqlite" && place.path !== ":memory:" ? join(dirname(resolve(place.path)), folderName) : undefined;
  if (option === undefined || option === true) {
    const folder = variable === "" ? beside : resolve(expandHome(variable));
    if (option === true && folder === undefined)
      throw new StoreError(
        "invalid_input",
        `logArchive: this store has no folder of its own: pass { folder }, or set ${logArchiveVariable}`,
      );
    const isThere = folder !== undefined && (option === true || variable !== "" || existsSync(folder));
    return { archive: isThere ? { folder } : undefined, movesLogs: option === true };
  }
  return { archive: checkOption(option), movesLogs: true };
}

function checkOption(option: { readonly folder: string } | LogArchive): { readonly folder: string } | LogArchive {
  if (typeof option === "object" && option !== null) {
    if ("folder" in option && typeof option.folder === "string" && option.folder !== "")
      return { folder: resolve(expandHome(option.folder)) };
    if (isArchive(option)) return option;
  }
  throw new StoreError(
    "invalid_input",
    "logArchive: expected { folder }, an object with put, get and delete, or true for the default folder of a store",
  );
}

/** Returns the archive that a caller names. A folder is not created. Fails with `invalid_input`. */
export function namedArchive(option: { readonly folder: string } | LogArchive): LogArchive {
  return openArchive({ archive: checkOption(option), movesLogs: false }) as LogArchive;
}

/** Returns the archive itself. The folder of one that logs move to is created. */
export function openArchive({ archive, movesLogs }: ChosenArchive): LogArchive | undefined {
  if (archive === undefined || isArchive(archive)) return archive;
  return localArchive(archive.folder, { create: movesLogs });
}

/** Checks for an archive of the caller's own. */
export function isArchive(value: object): value is LogArchive {
  const { put, get, delete: remove } = value as Partial<Record<keyof LogArchive, unknown>>;
  return [put, get, remove].every((method) => typeof method === "function");
}
