// The messages between a remote store and its server. Each travels as a frame (frames.ts).
import type { WireFailure } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Envelope, Reply } from "../wire.ts";

/**
 * A message to the server. `hello` begins a session, in which the server remembers which envelopes it has received: what it
 * does not know never arrived. Each later message names the session, and the envelopes whose answers the client has, which
 * the server may forget. `have` is the number of frames of the answer that the client has.
 */
export type ClientFrame =
  | readonly [what: "hello", clientId: string]
  | readonly [
      what: "call",
      clientId: string,
      session: string,
      answered: readonly number[],
      envelope: Envelope,
      have: number,
    ]
  | readonly [what: "cancel", clientId: string, session: string, answered: readonly number[], id: number, slot: number]
  | readonly [what: "bye", clientId: string];

/**
 * A message to the client: its session with the limits of the server, a part of the answers, the last ones, or the reason why the envelope was refused.
 * `forgotten`: the session is over, because the server was started anew or heard nothing for long. If the envelope was sent
 * in it before, nobody knows whether it ran. `again`: the server ends, and the envelope has not run.
 */
export type ServerFrame =
  | readonly [what: "session", session: string, limits: Partial<Limits>]
  | readonly [what: "part", reply: Reply]
  | readonly [what: "last", reply: Reply]
  | readonly [what: "refused", failure: WireFailure]
  | readonly [what: "forgotten"]
  | readonly [what: "again"];

/** The path of the API to which the frames are sent. */
export const framesPath = "/v1/envelopes";
