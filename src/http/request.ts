// Reads a request besides its operation: its body, its ids, and the form of the result that it accepts.
import { randomUUID } from "node:crypto";
import { traceparentIn } from "../caller.ts";
import { StoreError } from "../errors.ts";
import type { AnyOperation } from "../operation.ts";
import { inputOf, typeOfField } from "./json.ts";
import { RequestError } from "./problems.ts";

const requestIdPattern = /^[\x21-\x7e]{1,128}$/;

/** Returns the id of a request: X-Request-Id, or the trace id of traceparent, or a new one. */
export function requestIdOf(request: Request): string {
  const given = request.headers.get("x-request-id");
  if (given !== null && requestIdPattern.test(given)) return given;
  return traceparentOf(request)?.split("-")[1] ?? randomUUID();
}

/** Returns the traceparent of a request if it is well formed. */
export function traceparentOf({ headers }: Request): string | undefined {
  return traceparentIn(headers.get("traceparent"));
}

const rawType = "application/octet-stream";

/** Returns the type under which a client wants bytes as they are; undefined when it takes them as base64 in JSON. */
export function rawTypeOf({ headers }: Request): string | undefined {
  const [first] = acceptedTypes(headers);
  if (first === "text/plain") return "text/plain; charset=utf-8";
  return first === rawType ? rawType : undefined;
}

/** Returns the media types that a client names, in its order. Weights are not compared: those who want a form name one. */
export function acceptedTypes(headers: Headers): readonly string[] {
  const accept = headers.get("accept") ?? "";
  return accept
    .split(",")
    .map((part) => (part.split(";")[0] ?? "").trim().toLowerCase())
    .filter((part) => part !== "");
}

/**
 * Reads the input of an operation from the body, or from the query of a request that has none or whose body is raw bytes.
 * Fails with `invalid_input`, or with a RequestError for a type or encoding that is not taken.
 */
export async function readInput(
  request: Request,
  operation: AnyOperation,
  bodies: BodyReader,
): Promise<Record<string, unknown>> {
  const { headers, method } = request;
  requirePlainEncoding(headers);
  const query = queryOf(request, operation);
  if (method === "GET") return inputOf(operation, query);
  const { type } = mediaTypeOf(headers);
  const body = await bodies.read(request);
  if (type === rawType && operation.keys.includes("data")) return { ...inputOf(operation, query), data: body };
  if (body.byteLength === 0 && type === "") return inputOf(operation, query);
  requireJson(headers, operation.keys.includes("data") ? `, or ${rawType}` : "");
  return inputOf(operation, { ...query, ...(parseJson(body) as object) });
}

function mediaTypeOf(headers: Headers): { readonly type: string; readonly charset: string } {
  const [type = "", ...parameters] = (headers.get("content-type") ?? "")
    .split(";")
    .map((part) => part.trim().toLowerCase());
  const charset = parameters.find((parameter) => parameter.startsWith("charset="))?.slice(8) ?? "utf-8";
  return { type, charset: charset.replaceAll('"', "") };
}

/** Fails with a RequestError unless the body is JSON. `or` names another type that is taken. */
function requireJson(headers: Headers, or: string): void {
  const { type, charset } = mediaTypeOf(headers);
  if (type === "application/json" && ["utf-8", "utf8"].includes(charset)) return;
  throw new RequestError("unsupported_media_type", `content-type: expected application/json in UTF-8${or}`);
}

/**
 * Fails with a RequestError for what a browser sends for a page of another origin. Without this, a page could write where
 * clients are told by cookies, certificates or addresses, because such requests need no question before
 * (https://fetch.spec.whatwg.org/#cors-safelisted-request-header).
 */
export function requireOwnPage({ headers, method }: Request, origins: readonly string[]): void {
  const site = headers.get("sec-fetch-site");
  if (method !== "POST" || site === null || site === "same-origin" || site === "none") return;
  const origin = headers.get("origin") ?? "";
  if (origins.includes(origin)) return;
  throw new RequestError(
    "origin_refused",
    `pages of ${origin.slice(0, 200)} may not call this API: name it in origins`,
  );
}

/** Fails with a RequestError for a body that is packed: nobody here unpacks it. */
export function requirePlainEncoding(headers: Headers): void {
  const encoding = headers.get("content-encoding") ?? "identity";
  if (encoding === "identity") return;
  throw new RequestError("unsupported_media_type", `content-encoding ${encoding}: send the body as it is`, {
    "accept-encoding": "identity",
  });
}

/** Parses the text of a JSON object. Fails with `invalid_input`. */
function parseJson(body: Uint8Array): unknown {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (error) {
    throw new StoreError("invalid_input", `body: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new StoreError("invalid_input", "body: expected a JSON object with the fields of the input");
  // A key of this name would set the prototype where the object is copied.
  if (Object.hasOwn(value, "__proto__")) throw new StoreError("invalid_input", "body: has a field __proto__");
  return value;
}

/** The size of all bodies that may arrive at a time, in bytes. A client can send a large one slowly, on many connections. */
const arrivingBytesMax = 256 * 1024 * 1024;

/** Reads bodies of bounded size, and bounds what arrives of all of them. */
export class BodyReader {
  readonly #bytesMax: number;
  #arrivingBytes = 0;

  /** `bytesMax` bounds one body. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Reads the object of a body of JSON. Fails with `invalid_input`, or with a RequestError. */
  async json(request: Request): Promise<unknown> {
    requirePlainEncoding(request.headers);
    requireJson(request.headers, "");
    return parseJson(await this.read(request));
  }

  /**
   * Reads a body. Fails with a RequestError when it is larger than `bytesMax`, or when too much arrives
   * at a time; it stops reading then.
   */
  async read(request: Request, bytesMax: number = this.#bytesMax): Promise<Uint8Array> {
    // Without this, the rest of the body would be taken for the next request.
    const close = { connection: "close" };
    const tooLarge = () => new RequestError("body_too_large", `the body has more than ${bytesMax} bytes`, close);
    if (Number(request.headers.get("content-length") ?? 0) > bytesMax) throw tooLarge();
    if (request.body === null) return new Uint8Array();
    const parts: Uint8Array[] = [];
    let sizeBytes = 0;
    try {
      for await (const part of request.body as unknown as AsyncIterable<Uint8Array>) {
        sizeBytes += part.byteLength;
        this.#arrivingBytes += part.byteLength;
        if (sizeBytes > bytesMax) throw tooLarge();
        if (this.#arrivingBytes > arrivingBytesMax)
          throw new RequestError("too_many_bodies", undefined, { ...close, "retry-after": "1" });
        parts.push(part);
      }
    } catch (error) {
      if (error instanceof RequestError) throw error;
      throw new StoreError("aborted", "the body has ended early", { cause: error });
    } finally {
      this.#arrivingBytes -= sizeBytes;
    }
    return parts.length === 1 ? (parts[0] as Uint8Array) : new Uint8Array(Buffer.concat(parts));
  }
}

/**
 * Returns the fields of an input that are in the query: numbers and truth values as the schema wants them. `others` are
 * fields of text that the operation itself does not have.
 */
export function queryOf(
  request: Request,
  operation: AnyOperation,
  others: readonly string[] = [],
): Record<string, unknown> {
  const { searchParams } = new URL(request.url);
  const input: Record<string, unknown> = {};
  for (const [name, text] of searchParams) {
    if (!(operation.keys.includes(name) || others.includes(name)) || Object.hasOwn(input, name))
      throw new StoreError(
        "invalid_input",
        `query: ${JSON.stringify(name.slice(0, 100))} is no field of the input, or is there twice`,
      );
    input[name] = fromText(text, typeOfField(operation, name));
  }
  return input;
}

function fromText(text: string, type: string | undefined): unknown {
  if (type === "number" && /^-?\d{1,16}$/.test(text)) return Number(text);
  if (type === "boolean" && (text === "true" || text === "false")) return text === "true";
  return text;
}
