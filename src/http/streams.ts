// Iterations as bodies that go on: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html),
// newline-delimited JSON, and the bytes of logs. A client that reads slowly is read for slowly: one item at a time.

import { StoreError } from "../errors.ts";
import type { Chunk, SessionLogItem } from "../model/logs.ts";
import { realTime } from "../realTime.ts";
import type { OperationName } from "./access.ts";
import { jsonOf } from "./json.ts";
import { problemOf, RequestError } from "./problems.ts";
import { acceptedTypes } from "./request.ts";

export type StreamForm = "events" | "lines" | "text" | "bytes";

/** The types of the forms. The last two are those of logs: their bytes as they are. */
export const streamTypes: Readonly<Record<StreamForm, string>> = {
  events: "text/event-stream",
  lines: "application/x-ndjson",
  text: "text/plain",
  bytes: "application/octet-stream",
};

/** The streams of which each item has bytes, or none. */
const logStreams: readonly OperationName[] = ["logs.follow", "logs.followSession"];

/** Returns the form in which a client wants a stream. Fails with `not_acceptable`. */
export function formOf(operation: OperationName, headers: Headers): StreamForm {
  const isLog = logStreams.includes(operation);
  for (const type of acceptedTypes(headers)) {
    if (type === streamTypes.events) return "events";
    if (isLog && type === streamTypes.text) return "text";
    if (isLog && type === streamTypes.bytes) return "bytes";
    if (type === streamTypes.lines || type === "*/*" || type === "application/*" || type === "application/json")
      return "lines";
  }
  if (!headers.has("accept")) return "lines";
  const expected = [streamTypes.events, streamTypes.lines, ...(isLog ? [streamTypes.text, streamTypes.bytes] : [])];
  throw new RequestError("not_acceptable", `accept: expected ${expected.join(", ")}`);
}

/** The position after an item, which a client sends back as Last-Event-ID, and the input that goes on from there. */
interface Resuming {
  idOf(item: never): string;
  resume(id: string): Record<string, unknown> | undefined;
}

const numberOf = (text: string) => (/^\d{1,16}$/.test(text) ? Number(text) : undefined);

const resuming: Partial<Record<OperationName, Resuming>> = {
  "logs.follow": {
    idOf: ({ attempt, offset, data }: Chunk) => `${attempt}:${offset + data.byteLength}`,
    resume(id) {
      const [attempt, offset, ...more] = id.split(":").map(numberOf);
      return attempt === undefined || offset === undefined || more.length > 0
        ? undefined
        : { attempt, offset, line: undefined, lastLines: undefined };
    },
  },
  "logs.followSession": {
    idOf: ({ position }: SessionLogItem) => position,
    resume: (position) => ({ after: position, start: undefined }),
  },
  "changes.watch": after(({ seq }: { readonly seq: number }) => seq),
  "changes.export": after(({ seq }: { readonly seq: number }) => seq),
  "debug.follow": after(({ position }: { readonly position: number }) => position),
};

function after<Item>(positionOf: (item: Item) => number): Resuming {
  return {
    idOf: (item) => String(positionOf(item)),
    resume(id) {
      const position = numberOf(id);
      return position === undefined ? undefined : { after: position };
    },
  };
}

/** Returns the input with which an iteration goes on after the item with this id. Fails with `invalid_input`. */
export function resumed(operation: OperationName, input: Record<string, unknown>, id: string | null) {
  if (id === null || id === "") return input;
  const next = resuming[operation]?.resume(id);
  if (next === undefined)
    throw new StoreError(
      "invalid_input",
      `Last-Event-ID: ${JSON.stringify(id.slice(0, 100))} is no id of this stream`,
      { operation },
    );
  return { ...input, ...next };
}

export interface StreamOptions {
  readonly operation: OperationName;
  readonly form: StreamForm;
  readonly requestId: string;
  /** The time between two comments, which keep proxies from closing an idle stream of events, in milliseconds. */
  readonly heartbeatMs: number;
  /** The first item, which was asked for before. */
  readonly first: Promise<IteratorResult<unknown, void>>;
  /** Turns a failure of the iteration into the one to report. */
  readonly onFailure: (error: unknown) => never;
  /** Called once: when the stream has ended, with its failure if it has failed, or when its client has gone. */
  readonly onEnd: (failure?: unknown) => void;
  /** Receives a failure that is a bug. */
  readonly onError: (error: unknown, requestId: string) => void;
}

/**
 * Returns a body with the items of an iteration. It ends with `end`, or with `error` and the problem: a body that ends
 * without either was cut off, and can be resumed. One of bytes has no room for either, and is cut off when it fails.
 */
export function streamBody(
  items: AsyncGenerator<unknown, void, undefined>,
  { operation, form, requestId, heartbeatMs, first, onFailure, onEnd, onError }: StreamOptions,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const idOf = resuming[operation]?.idOf as ((item: unknown) => string) | undefined;
  const isRaw = form === "text" || form === "bytes";
  const write = (name: "item" | "error" | "end", value: unknown): Uint8Array => {
    // An item without bytes, such as a mark, is no part of a log as its bytes.
    if (isRaw) return (value as Partial<Pick<Chunk, "data">>).data ?? new Uint8Array();
    const position = name === "item" ? idOf?.(value) : undefined;
    if (form === "lines") {
      const id = position === undefined ? "" : `"id":${JSON.stringify(position)},`;
      return encoder.encode(`{${id}"${name}":${jsonOf(value)}}\n`);
    }
    const id = position === undefined ? "" : `id: ${position}\n`;
    return encoder.encode(`event: ${name}\n${id}data: ${jsonOf(value)}\n\n`);
  };
  let heartbeat: NodeJS.Timeout | undefined;
  let isGone = false;
  const finish = (failure?: unknown): void => {
    realTime.clearInterval(heartbeat);
    onEnd(failure);
  };
  let upcoming: Promise<IteratorResult<unknown, void>> | undefined = first;
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        if (isRaw) return;
        // Tells a client at once that it is connected.
        if (form === "events") controller.enqueue(encoder.encode(": connected\n\n"));
        const waiting = encoder.encode(form === "events" ? ": waiting\n\n" : `{"waiting":{}}\n`);
        heartbeat = realTime.setInterval(() => {
          if ((controller.desiredSize ?? 0) > 0) controller.enqueue(waiting);
        }, heartbeatMs);
        heartbeat.unref();
      },
      async pull(controller) {
        try {
          for (;;) {
            const next = await (upcoming ?? items.next().catch(onFailure));
            upcoming = undefined;
            if (isGone) return;
            if (next.done) break;
            const written = write("item", next.value);
            if (written.byteLength > 0) return controller.enqueue(written);
          }
          finish();
          if (!isRaw) controller.enqueue(write("end", {}));
        } catch (error) {
          if (isGone) return;
          const problem = problemOf(error, requestId);
          if (problem.status === 500) onError(error, requestId);
          finish(error);
          if (isRaw) return controller.error(error);
          controller.enqueue(write("error", problem));
        }
        controller.close();
      },
      async cancel() {
        isGone = true;
        finish();
        await items.return();
      },
    },
    { highWaterMark: 1 },
  );
}
