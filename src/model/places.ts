// Places: where the directories of worktrees are, such as a machine, or a folder of one. Whoever shares directories names
// the same place. The empty name is the place of all who name none (D-144).
import { createHash } from "node:crypto";
import { text } from "./fields.ts";

const placeLengthMax = 200;
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\p{Bidi_Control}]/gu;

/** The name of a place. Compared as it is, because it may hold a path. */
export const PlaceName = text(placeLengthMax).regex(/^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\p{Bidi_Control}]*$/u, {
  error: "must not contain control characters",
});

/** Returns the place of a runner that names none: its host, unless that is the name which every machine has for itself. */
export function placeOfHost(host: string): string {
  if (host === "localhost") return "";
  return host
    .replaceAll(controls, "")
    .slice(0, placeLengthMax)
    .replace(/[\ud800-\udbff]$/, "");
}

/** Returns a short form of a name, for topics: places that share it would only wake each other's calls. */
export function shortPlace(name: string): string {
  return name === "" ? "" : createHash("sha256").update(name).digest("base64url").slice(0, 10);
}
