// debug-server-db fsck: checks the rules of a store, and repairs what follows from other rows.
import type { Command } from "commander";
import type { CallOptions } from "../client.ts";
import type { Finding } from "../model/findings.ts";
import { logArchiveVariable, parsePlace } from "../place.ts";
import { present } from "../present.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { exitCodes } from "../terminal/exit.ts";
import type { CommandLine } from "./commandLine.ts";
import { column, printMessage, printRows } from "./rows.ts";
import { type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

interface FsckFlags extends StoreFlags {
  readonly check?: readonly string[];
  readonly deep: boolean;
  readonly repair: boolean;
  readonly list: boolean;
}

const note =
  "Reads the store over a connection of its own, in short steps, also while servers use it. --repair writes anew what follows from other rows, such as counters, and adds an entry to the audit log for each repaired row; nothing is deleted but idempotency keys without a reply. Exits with 3 if it finds something that is not repaired. --deep also checks the pages, the indexes and the references of a SQLite file, reads the whole change feed, and each archived log.";

/** The largest number of findings that are printed. The others are counted. */
const printedMax = 1_000;

export function addFsck(program: Command, cli: CommandLine): void {
  storeCommand(
    program,
    "fsck",
    "Checks the rules of the store that its database does not know, and repairs rows that break them.",
    ["fsck", "fsck --repair", "fsck --deep --json", "fsck --check session-ready --check log-end", "fsck --list"],
    note,
  )
    .option("--check <name...>", "only this check, or these")
    .option("--deep", "also the file itself, and checks that read the whole change feed", false)
    .option("--repair", "repair what follows from other rows", false)
    .option("--list", "list the checks, and check nothing", false)
    .action(async (flags: FsckFlags) => {
      if (flags.list) return await listChecks(cli, flags);
      cli.exitCode = await visit(cli, flags, (store, options) => check(cli, flags, store, options));
    });
}

/** The rules that findings refer to. */
interface CheckText {
  readonly name: string;
  readonly says: string;
  readonly remedy: string;
  readonly isDeep?: boolean;
  readonly repair?: unknown;
}

async function readChecks(): Promise<readonly CheckText[]> {
  const { checks } = await import("../operations/fsck/checks.ts");
  const { fileChecks } = await import("../sqlite/deepCheck.ts");
  return [...checks, ...Object.values(fileChecks).map((texts) => ({ ...texts, isDeep: true }))];
}

async function listChecks(cli: CommandLine, flags: FsckFlags): Promise<void> {
  const rows = (await readChecks()).map(({ name, says, remedy, repair, isDeep = false }) => ({
    name,
    says,
    repairs: repair !== undefined,
    deep: isDeep,
    remedy,
  }));
  printRows(cli, flags, rows, (shown) => [
    column("check", shown, ({ name }) => name),
    column("repairs", shown, ({ repairs }) => (repairs ? "yes" : "")),
    column("deep", shown, ({ deep }) => (deep ? "yes" : "")),
    column("rule", shown, ({ says }) => says),
  ]);
}

/** The findings of a run, and the number of rows that it has read. */
interface Found {
  readonly findings: readonly Finding[];
  readonly rows: number;
  /** The checks that need the log archive, which was not there. */
  readonly skipped: ReadonlySet<string>;
}

async function check(cli: CommandLine, flags: FsckFlags, store: OwnedStore, options: CallOptions): Promise<number> {
  const checks = await readChecks();
  const first = await findAll(flags, checks, store, options);
  const repaired: Finding[] = [];
  const isRepairing = flags.repair && first.findings.length > 0;
  if (isRepairing)
    for (const { name, repair } of checks)
      if (repair !== undefined && first.findings.some((finding) => finding.check === name))
        repaired.push(...(await repairAll(store, name, options)));
  // A repair may mend more than one finding, or show another.
  const { findings, rows, skipped } = isRepairing ? await findAll(flags, checks, store, options) : first;
  print(cli, flags, checks, repaired, findings);
  const count = (number: number, what: string) => `${number} ${what}${number === 1 ? "" : "s"}`;
  if (repaired.length > 0) printMessage(cli, flags, `Repaired ${count(repaired.length, "row")}.`);
  for (const name of skipped)
    printMessage(
      cli,
      flags,
      `${name}: not checked, because the log archive was not found: set ${logArchiveVariable} to its folder.`,
    );
  if (findings.length === 0) printMessage(cli, flags, `The store is sound: checked ${count(rows, "row")}.`);
  else printMessage(cli, flags, `Found ${count(findings.length, "fault")} in ${count(rows, "row")}.`);
  return findings.length === 0 ? exitCodes.ok : exitCodes.finding;
}

function print(
  cli: CommandLine,
  flags: FsckFlags,
  checks: readonly CheckText[],
  repaired: readonly Finding[],
  findings: readonly Finding[],
): void {
  const texts = new Map(checks.map((one) => [one.name, one]));
  const rowOf = (finding: Finding, isRepaired: boolean) => {
    const { says = "", remedy = "" } = texts.get(finding.check) ?? {};
    return { ...finding, repaired: isRepaired, says, remedy };
  };
  const rows = [...repaired.map((one) => rowOf(one, true)), ...findings.map((one) => rowOf(one, false))];
  const printed = rows.slice(0, printedMax);
  printRows(cli, flags, printed, (shown) => [
    column("check", shown, (row) => row.check),
    column("", shown, (row) => (row.repaired ? "repaired" : "broken"), {
      style: (cell) => (cell === "repaired" ? "green" : "red"),
    }),
    column("id", shown, ({ id }) => id),
    column("expected", shown, ({ expected }) => expected, { optional: true }),
    column("found", shown, ({ found }) => found),
  ]);
  if (printed.length < rows.length) printMessage(cli, flags, `${rows.length - printed.length} more are not printed.`);
  if (flags.json) return;
  for (const name of new Set(findings.map((finding) => finding.check))) {
    const { says = "", remedy = "" } = texts.get(name) ?? {};
    printMessage(cli, flags, `${name}: ${says} ${remedy}`);
  }
}

async function findAll(
  { url, check: names, deep }: FsckFlags,
  checks: readonly CheckText[],
  store: OwnedStore,
  options: CallOptions,
): Promise<Found> {
  const place = parsePlace(url);
  const onFile =
    deep && place.engine === "sqlite" ? (await import("../sqlite/deepCheck.ts")).checkFile(place.path) : [];
  const findings: Finding[] = [...onFile];
  const ofOperation = checks.filter(({ name }) => !name.startsWith("file-"));
  const deepNames =
    deep && names === undefined ? ofOperation.filter(({ isDeep }) => isDeep).map(({ name }) => name) : [];
  const skipped = new Set<string>();
  let rows = 0;
  for (const name of [...(names ?? [undefined]), ...deepNames]) {
    for (let from: string | undefined, more = true; more; more = from !== undefined) {
      const step = await store.maintenance.fsck(present({ check: name, from }), options);
      findings.push(...step.findings);
      rows += step.rows;
      for (const one of step.skipped) skipped.add(one);
      from = step.next;
    }
  }
  return { findings, rows, skipped };
}

async function repairAll({ maintenance }: OwnedStore, name: string, options: CallOptions): Promise<Finding[]> {
  const repaired: Finding[] = [];
  for (let from: string | undefined, more = true; more; more = from !== undefined) {
    const step = await maintenance.repair({ check: name, ...present({ from }) }, options);
    repaired.push(...step.repaired);
    from = step.next;
  }
  return repaired;
}
