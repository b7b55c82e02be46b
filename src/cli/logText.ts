// The chunks of a log as text. A program may write a part of a character, so text is decoded over the chunks of one
// stream of one attempt, up to bytes that are missing.
import { TextDecoder } from "node:util";
import type { Chunk } from "../model/logs.ts";
import { stripLogControls } from "../terminal/controls.ts";

/** A chunk as JSON has it. */
export type ChunkJson = Omit<Chunk, "data"> & {
  /** The text up to the last whole character. The beginning of a character is decoded with the next chunk. */
  readonly text: string;
  /** The bytes, unless they are the UTF-8 of `text`. */
  readonly dataBase64?: string;
};

/** Returns a function that turns the chunks of a log, in their order, into JSON that loses no byte. */
export function chunkToJson(): (chunk: Chunk) => ChunkJson {
  const decoders = new Decoders();
  return (chunk) => {
    const { data, ...about } = chunk;
    decoders.startUnlessContinued(chunk);
    const text = decoders.decode(about.stream, data);
    const same = Buffer.from(text).equals(data);
    return { ...about, text, ...(same ? {} : { dataBase64: Buffer.from(data).toString("base64") }) };
  };
}

export interface TerminalText {
  /** Returns what can be printed of a chunk, without controls other than colors and tabs. */
  print(chunk: Chunk): string;
  /** Returns what was held back, because it could have been continued. */
  end(): string;
}

export function terminalText(): TerminalText {
  const decoders = new Decoders();
  const held = new Map<Chunk["stream"], string>();
  const release = (texts: readonly (readonly [Chunk["stream"], string])[]): string => {
    const all = texts.map(([stream, rest]) => stripLogControls(`${held.get(stream) ?? ""}${rest}`)).join("");
    held.clear();
    return all;
  };
  return {
    print(chunk) {
      const { stream, data } = chunk;
      const before = decoders.startUnlessContinued(chunk);
      const left = before === undefined ? "" : release(before);
      const whole = `${held.get(stream) ?? ""}${decoders.decode(stream, data)}`;
      const end = unfinished.exec(whole)?.index ?? whole.length;
      held.set(stream, whole.slice(end));
      return `${left}${stripLogControls(whole.slice(0, end))}`;
    },
    end: () => release(decoders.end()),
  };
}

/** The beginning of a line end or of a color at the end of a chunk. */
const unfinished = /(?:\r|\u001b(?:\[[\d;]{0,32})?)$/;

class Decoders {
  readonly #decoders = new Map<Chunk["stream"], TextDecoder>();
  #attempt = 0;

  /**
   * Starts anew at the first chunk of an attempt, and after bytes that are missing. Then returns what the streams had
   * left, with replacement characters for the bytes of incomplete characters.
   */
  startUnlessContinued({ attempt, droppedBytes }: Chunk): ReturnType<Decoders["end"]> | undefined {
    if (attempt === this.#attempt && droppedBytes === 0) return undefined;
    this.#attempt = attempt;
    return this.end();
  }

  decode(stream: Chunk["stream"], data: Uint8Array): string {
    let decoder = this.#decoders.get(stream);
    // A byte order mark belongs to the bytes of the log.
    decoder ??= new TextDecoder("utf-8", { ignoreBOM: true });
    this.#decoders.set(stream, decoder);
    return decoder.decode(data, { stream: true });
  }

  end(): (readonly [Chunk["stream"], string])[] {
    const rests = [...this.#decoders].map(([stream, decoder]) => [stream, decoder.decode()] as const);
    this.#decoders.clear();
    return rests;
  }
}
