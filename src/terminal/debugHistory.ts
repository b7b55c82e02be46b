// The history of a debug session as text: a line for each entry, with who did it.
import type { DebugEntry } from "../model/debugRequests.ts";
import { oneLine } from "./controls.ts";
import type { Screen } from "./output.ts";
import { formatTable } from "./table.ts";

/** The longest text of one entry. */
const textMax = 100;

export function formatDebugHistory(entries: readonly DebugEntry[], screen: Screen): string {
  return formatTable(
    [
      { title: "", align: "right", cells: entries.map(({ position }) => String(position)) },
      { title: "at", optional: true, cells: entries.map(({ at }) => at.toISOString().slice(11, 23)) },
      { title: "by", cells: entries.map(({ actor }) => oneLine(actor ?? "", 30)) },
      { title: "what", cells: entries.map(({ kind }) => kind) },
      { title: "", cells: entries.map((entry) => oneLine(contentOf(entry), textMax)) },
    ],
    screen,
  );
}

function contentOf({ command, arguments: args, success, body, message, reason, detail }: DebugEntry): string {
  if (command === null) return detail === null ? "" : withoutBraces(detail);
  const answer = success === false ? `refused: ${message ?? ""}` : (reason ?? (body === null ? "" : textOf(body)));
  const asked = args === null ? command : `${command} ${withoutBraces(args)}`;
  return answer === "" ? asked : `${asked}: ${answer}`;
}

/** Returns the part of an answer that a person reads first: the result of an evaluation, or else all of it. */
function textOf(body: unknown): string {
  const { result } = body as { readonly result?: unknown };
  return typeof result === "string" ? result : withoutBraces(body);
}

function withoutBraces(value: unknown): string {
  return (JSON.stringify(value) ?? "").replace(/^\{(.*)\}$/s, "$1");
}
