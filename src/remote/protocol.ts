// The messages between a remote store and its server. Each travels as a frame (frames.ts).
//
// A client posts its messages one request after the other, and listens to the answers in one request that goes on. Both
// are numbered within a session, so whatever is cut is sent again and taken once, in its order.
import type { WireFailure } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Envelope, Reply } from "../wire.ts";

/** The version of this protocol. A server answers only clients of its own version. */
export const protocolVersion = 1;

/** The path of the API to which the frames are sent. */
export const framesPath = "/v1/envelopes";

/** The time between two frames of a stream of answers that has nothing to say, in milliseconds. */
export const beatMs = 5_000;

/** A message to the store behind the server: an envelope to run, or a call of one to drop. */
export type ClientMessage = Envelope | readonly [envelopeId: number, what: "cancel", slot: number];

/**
 * The first frame of a request.
 *
 * - hello: begins a session; what the client had in an earlier one is over.
 * - listen: asks for the answers behind the one with this number. A later request to listen ends an earlier one.
 * - post: is followed by messages, the first of which has this number. `heard` is the number of the last answer that the
 *   client has, so that the server may forget it and those before it.
 * - bye: ends the session.
 */
export type RequestFrame =
  | readonly [what: "hello", version: number, clientId: string]
  | readonly [what: "listen", clientId: string, session: string, heard: number]
  | readonly [what: "post", clientId: string, session: string, first: number, heard: number]
  | readonly [what: "bye", clientId: string];

/**
 * A frame of an answer.
 *
 * - session: the answer to hello, with the server's limits and the largest request that it takes, in bytes.
 * - taken: the answer to post, with the number of the next message.
 * - reply: answers to calls of an envelope: all of them, or a part.
 * - refused: the envelope was not accepted, so none of its calls has run.
 * - again: the call of this envelope waited, and the server has ended its wait; it has not run.
 * - beat: nothing has happened.
 * - over: the session is over, or was before; see `OverReason`.
 */
export type ServerFrame =
  | readonly [what: "session", session: string, limits: Partial<Limits>, bytesMax: number]
  | readonly [what: "taken", next: number]
  | readonly [what: "reply", number: number, envelopeId: number, reply: Reply]
  | readonly [what: "refused", number: number, envelopeId: number, failure: WireFailure]
  | readonly [what: "again", number: number, envelopeId: number]
  | readonly [what: "beat"]
  | readonly [what: "over", reason: OverReason];

/**
 * The reason why a session is over. `gone`: the server was restarted, has another one in its place, or heard nothing for
 * long. `ending`: the server ends, and has answered everything that it had taken. `overflow`: the client did not read its answers.
 */
export type OverReason = "gone" | "ending" | "overflow";

const forms: Readonly<Record<ServerFrame[0], readonly ((value: unknown) => boolean)[]>> = {
  session: [isText, isObject, isCount],
  taken: [isCount],
  reply: [isCount, isCount, isReply],
  refused: [isCount, isCount, isFailure],
  again: [isCount, isCount],
  beat: [],
  over: [isText],
};

/** Returns a frame that a server has sent, or undefined when it is none. */
export function asServerFrame(value: unknown): ServerFrame | undefined {
  if (!Array.isArray(value) || !Object.hasOwn(forms, String(value[0]))) return undefined;
  const checks = forms[value[0] as ServerFrame[0]];
  const isRight = value.length === checks.length + 1 && checks.every((check, index) => check(value[index + 1]));
  return isRight ? (value as unknown as ServerFrame) : undefined;
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isFailure(value: unknown): boolean {
  if (!Array.isArray(value) || value.length < 4 || value.length > 5) return false;
  const isRetryable = value[4] as unknown;
  return value.slice(0, 3).every(isText) && isObject(value[3]) && ["boolean", "undefined"].includes(typeof isRetryable);
}

/** Checks a list of answers, two values for each call, and the slots of the calls, if they are not all. */
function isReply(value: unknown): boolean {
  if (!Array.isArray(value) || value.length < 3 || value.length > 4) return false;
  const [epoch, commitSeq, answers, slots] = value as readonly unknown[];
  return (
    isCount(epoch) &&
    isCount(commitSeq) &&
    Array.isArray(answers) &&
    answers.every(
      (part, index) => index % 2 === 1 || part === true || (part === false && isFailure(answers[index + 1])),
    ) &&
    (slots === undefined || (Array.isArray(slots) && slots.every(isCount)))
  );
}
