// The text of a log in memory: its bytes in blocks, and where each line begins. A line is decoded when it is shown, so
// a hundred megabytes cost what they are, and no more.
import { piecesOf, type Style } from "./ansi.ts";

/** The kinds of lines: the streams of a log, and what the page itself says between them. */
export const lineKinds = ["stdout", "stderr", "system", "note", "phase"] as const;
export type LineKind = (typeof lineKinds)[number];

const blockBytes = 1 << 20;
/** The length of a line of the view, in bytes. A longer line of the log goes on in the next one. */
const lineBytesMax = 2_000;
/** The number of lines before one in which the color with which it begins is looked for. */
const styleLines = 200;
/** The bytes that a tab holds. */
export const logBytesMax = 256 * 1024 * 1024;

export class LogText {
  readonly #blocks: Uint8Array<ArrayBuffer>[] = [];
  readonly #decoder = new TextDecoder();
  #starts = new Uint32Array(1_024);
  #kinds = new Uint8Array(1_024);
  #lines = 0;
  #bytes = 0;
  #isOpen = false;
  #source = "";
  #width = 0;
  /** The style with which a line begins, for each kind the one that was asked for last. */
  readonly #styles: { readonly line: number; readonly style: Style }[] = [];

  get lineCount(): number {
    return this.#lines;
  }

  /** The number of lines that do not grow any more. */
  get completeCount(): number {
    return this.#isOpen ? this.#lines - 1 : this.#lines;
  }

  get byteCount(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    return this.#bytes >= logBytesMax;
  }

  /** Returns the bytes in order, such as for a file. */
  get blocks(): Uint8Array<ArrayBuffer>[] {
    return this.#blocks.map((block, index) =>
      block.subarray(0, Math.min(blockBytes, this.#bytes - index * blockBytes)),
    );
  }

  /** Adds bytes. A source does not go on in a line of another one. */
  append(bytes: Uint8Array, kind: LineKind, source: string = kind): void {
    if (source !== this.#source) this.#isOpen = false;
    this.#source = source;
    let at = 0;
    while (at < bytes.length) {
      if (!this.#isOpen) this.#begin(this.#bytes + at, kind);
      const newline = bytes.indexOf(10, at);
      const end = newline === -1 ? bytes.length : newline;
      const room = lineBytesMax - this.#width;
      if (end - at > room) {
        at = cutBefore(bytes, at, at + room, this.#width === 0);
        this.#isOpen = false;
        continue;
      }
      this.#width += end - at;
      this.#isOpen = newline === -1;
      at = newline === -1 ? end : newline + 1;
    }
    this.#store(bytes);
  }

  /** Ends the last line, when nothing will follow. */
  close(): void {
    this.#isOpen = false;
  }

  /** Adds a line of the page itself. */
  note(text: string, kind: LineKind): void {
    this.append(new TextEncoder().encode(`${text.replaceAll("\n", " ")}\n`), kind, `${kind} ${this.#lines}`);
  }

  kindOf(line: number): LineKind {
    return lineKinds[this.#kinds[line] ?? 0] ?? "stdout";
  }

  /** Returns the text of a line, without its end. */
  line(index: number): string {
    return this.text(index, index + 1).replace(/\n$/, "");
  }

  /** Returns the text of the lines from one to before another. */
  text(from: number, to: number): string {
    return this.#decoder.decode(this.#slice(this.startOf(from), this.startOf(to)));
  }

  /** Returns the offset of a line; that of the line after the last one is the end. */
  startOf(line: number): number {
    return line < this.#lines ? (this.#starts[line] as number) : this.#bytes;
  }

  /** Returns the style with which a line begins: that of the lines of its kind before it. */
  styleAt(line: number): Style {
    const own = this.#kinds[line] as number;
    // Lines are asked for in their order, so the style of the one before is mostly known.
    const known = this.#styles[own];
    const isNear = known !== undefined && known.line <= line && line - known.line <= styleLines;
    let style: Style = isNear ? known.style : {};
    for (let before = isNear ? known.line : Math.max(0, line - styleLines); before < line; before++)
      if (this.#kinds[before] === own && this.#hasEscape(before)) style = piecesOf(this.line(before), style).end;
    this.#styles[own] = { line, style };
    return style;
  }

  #hasEscape(line: number): boolean {
    return this.#slice(this.startOf(line), this.startOf(line + 1)).includes(27);
  }

  #begin(offset: number, kind: LineKind): void {
    if (this.#lines === this.#starts.length) {
      const starts = new Uint32Array(this.#lines * 2);
      starts.set(this.#starts);
      const kinds = new Uint8Array(this.#lines * 2);
      kinds.set(this.#kinds);
      [this.#starts, this.#kinds] = [starts, kinds];
    }
    this.#starts[this.#lines] = offset;
    this.#kinds[this.#lines] = lineKinds.indexOf(kind);
    this.#lines++;
    this.#isOpen = true;
    this.#width = 0;
  }

  #store(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const into = this.#bytes % blockBytes;
      if (into === 0) this.#blocks.push(new Uint8Array(blockBytes));
      const part = bytes.subarray(at, at + blockBytes - into);
      (this.#blocks.at(-1) as Uint8Array).set(part, into);
      at += part.length;
      this.#bytes += part.length;
    }
  }

  #slice(from: number, to: number): Uint8Array {
    const first = Math.floor(from / blockBytes);
    const base = first * blockBytes;
    if (to - base <= blockBytes) return this.#blocks[first]?.subarray(from - base, to - base) ?? new Uint8Array();
    const whole = new Uint8Array(to - from);
    for (let at = from; at < to; ) {
      const index = Math.floor(at / blockBytes);
      const part = this.#blocks[index]?.subarray(at - index * blockBytes, to - index * blockBytes) ?? new Uint8Array(1);
      whole.set(part, at - from);
      at += part.length;
    }
    return whole;
  }
}

/** Returns where to cut bytes so that no character of UTF-8 is cut. */
function cutBefore(bytes: Uint8Array, from: number, at: number, isWholeLine: boolean): number {
  let cut = at;
  while (cut > from && ((bytes[cut] as number) & 0xc0) === 0x80) cut--;
  return cut === from && isWholeLine ? at : cut;
}
