// A page of a log as its bytes, with the facts about it as headers.
import type { LogPage } from "../model/logs.ts";

/** Returns the bytes of a page. `X-Next-Offset` is the offset to go on from, `X-Log-Ended` says whether nothing follows. */
export function rawLog({ chunks, attempt, nextOffset, ended, droppedBytes }: LogPage, type: string): Response {
  return new Response(Buffer.concat(chunks.map(({ data }) => data)), {
    headers: {
      "content-type": type,
      "cache-control": "no-store",
      "x-attempt": String(attempt),
      "x-next-offset": String(nextOffset),
      "x-dropped-bytes": String(droppedBytes),
      "x-log-ended": String(ended),
    },
  });
}
