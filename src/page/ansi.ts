// Text of terminals: colors become spans, what a carriage return has overwritten goes, and other controls are left out.
// https://ecma-international.org/publications-and-standards/standards/ecma-48/

/** The style that an SGR sequence leaves: the codes of the text and the background, and the attributes. */
export interface Style {
  readonly color?: string | undefined;
  readonly background?: string | undefined;
  readonly bold?: boolean;
  readonly dim?: boolean;
  readonly italic?: boolean;
  readonly underline?: boolean;
  readonly inverse?: boolean;
}

export interface Piece {
  readonly text: string;
  readonly style: Style;
}

const plain: Style = {};

/** Any escape sequence, or a control that is no tab. The first group has the parameters of SGR. */
// biome-ignore lint/complexity/useRegexLiterals: the literal would contain controls.
const controls = new RegExp(
  "\\u001b\\[([\\d;:]*)m|\\u001b\\[[0-?]*[ -/]*[@-~]?|\\u001b[\\]PX^_][^\\u0007\\u001b]*(?:\\u0007|\\u001b\\\\)?|\\u001b[ -/]*[0-~]?|[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]",
  "g",
);
/** Characters that reverse the direction of the text after them. */
const directions = /[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/g;

/** Splits a line into pieces of one style, beginning with a style. Returns them with the style at the end. */
export function piecesOf(line: string, start: Style = plain): { pieces: Piece[]; end: Style } {
  const visible = afterReturn(line);
  const pieces: Piece[] = [];
  let style = start;
  let at = 0;
  const add = (text: string) => {
    if (text !== "") pieces.push({ text: text.replace(directions, "\ufffd"), style });
  };
  for (const match of visible.matchAll(controls)) {
    add(visible.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[1] !== undefined) style = afterCodes(style, match[1]);
  }
  add(visible.slice(at));
  return { pieces, end: style };
}

/** Returns what is left of a line that a program has written anew, as progress bars do. */
function afterReturn(line: string): string {
  const whole = line.endsWith("\r") ? line.slice(0, -1) : line;
  return whole.slice(whole.lastIndexOf("\r") + 1);
}

/** A control string, which may go on beyond its line. */
const strings = /\u001b[\]PX^_]/;
// biome-ignore lint/complexity/useRegexLiterals: the literal would contain controls.
const anyControl = new RegExp("[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]");

/**
 * Checks whether lines may hold text once they are without their controls. Looks at all of them at once, which is fast, and
 * is right when it says no.
 */
export function mayHold(lines: string, lowerCase: string): boolean {
  const text = anyControl.test(lines) ? lines.replace(controls, "") : lines;
  return strings.test(lines) || text.toLowerCase().includes(lowerCase);
}

/** Returns a line without its controls, for searching. */
export const plainText = (line: string): string =>
  anyControl.test(line) ? afterReturn(line).replace(controls, "") : line;

function afterCodes(before: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map(Number);
  let style: Style = before;
  for (let index = 0; index < codes.length; index++) {
    const code = codes[index] as number;
    if (code === 0) style = plain;
    else if (code === 1) style = { ...style, bold: true };
    else if (code === 2) style = { ...style, dim: true };
    else if (code === 3) style = { ...style, italic: true };
    else if (code === 4) style = { ...style, underline: true };
    else if (code === 7) style = { ...style, inverse: true };
    else if (code === 22) style = { ...style, bold: false, dim: false };
    else if (code === 23) style = { ...style, italic: false };
    else if (code === 24) style = { ...style, underline: false };
    else if (code === 27) style = { ...style, inverse: false };
    else if (code === 39) style = { ...style, color: undefined };
    else if (code === 49) style = { ...style, background: undefined };
    else if (code === 38 || code === 48) {
      const [color, used] = extendedColor(codes.slice(index + 1));
      index += used;
      style = code === 38 ? { ...style, color } : { ...style, background: color };
    } else {
      const color = indexed(code);
      if (color !== undefined) style = { ...style, ...color };
    }
  }
  return style;
}

function indexed(code: number): Pick<Style, "color" | "background"> | undefined {
  if (code >= 30 && code <= 37) return { color: `var(--ansi-${code - 30})` };
  if (code >= 90 && code <= 97) return { color: `var(--ansi-${code - 82})` };
  if (code >= 40 && code <= 47) return { background: `var(--ansi-${code - 40})` };
  if (code >= 100 && code <= 107) return { background: `var(--ansi-${code - 92})` };
  return undefined;
}

/** Returns the color of `5;N` or `2;R;G;B`, and the number of codes that it takes. */
function extendedColor([kind, ...values]: readonly number[]): [color: string | undefined, used: number] {
  const [first = 0, second = 0, third = 0] = values.map((value) => Math.min(255, Math.max(0, value || 0)));
  if (kind === 2) return [`rgb(${first} ${second} ${third})`, 4];
  if (kind !== 5) return [undefined, 0];
  if (first < 16) return [`var(--ansi-${first})`, 2];
  if (first >= 232)
    return [
      `rgb(${Array(3)
        .fill(8 + 10 * (first - 232))
        .join(" ")})`,
      2,
    ];
  const level = (part: number) => (part === 0 ? 0 : 55 + 40 * part);
  const cube = first - 16;
  return [`rgb(${[Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map(level).join(" ")})`, 2];
}
