// Text from outside (names, messages, logs) without the characters that control a terminal or change the direction of
// text.
import { stripVTControlCharacters } from "node:util";

/** Returns the text without control characters and escape sequences; line ends stay. */
export function stripTerminalControls(text: string): string {
  return stripVTControlCharacters(text).replace(
    /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\p{Bidi_Control}]+/gu,
    " ",
  );
}

/**
 * Strips a program's output as `stripTerminalControls` does, except for its tabs and colors:
 * https://ecma-international.org/publications-and-standards/standards/ecma-48/
 */
export function stripLogControls(text: string): string {
  const parts = text.replaceAll("\r\n", "\n").split(/(\u001b\[[\d;]*m|\t)/);
  return parts.map((part, index) => (index % 2 === 1 ? part : stripTerminalControls(part))).join("");
}

/** Escapes the control characters that JSON allows in strings. The value stays the same. */
export function escapeJsonControls(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u2028\u2029\p{Bidi_Control}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Returns the text on one line of at most `lengthMax` characters, without terminal controls. */
export function oneLine(text: string, lengthMax: number): string {
  const line = stripTerminalControls(text.replaceAll("\n", " ")).trim();
  if (line.length <= lengthMax) return line;
  const start = line.slice(0, lengthMax - 1).toWellFormed();
  // A surrogate pair is not cut in half.
  return `${start.replace(/\ufffd$/, "")}…`;
}
