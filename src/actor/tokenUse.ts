// The times at which tokens were last used. Verifying a token only reads, so its use is noted here and written later,
// together with others (D-052).

import type { Limits } from "../limits.ts";
import { tokenUsesMax } from "../operations/tokens.ts";
import { realTime } from "../realTime.ts";
import type { Inbox } from "./mailbox.ts";

/** The time after which the first use of a token is written. */
const firstUseMs = 1_000;

export class TokenUses {
  readonly #inbox: Inbox;
  readonly #limits: Limits;
  #uses = new Map<string, Date>();
  #timer: NodeJS.Timeout | undefined;
  #firstTimer: NodeJS.Timeout | undefined;
  #envelopeId = 0;

  constructor(inbox: Inbox, limits: Limits) {
    this.#inbox = inbox;
    this.#limits = limits;
  }

  /** Notes a use. The first use of a token is written soon, because people look for it, and a process may be killed. */
  note(tokenId: string, at: Date, isFirst: boolean): void {
    this.#uses.set(tokenId, at);
    if (this.#uses.size >= this.#limits.lastUsedTokens) void this.flush();
    else {
      this.#timer ??= this.#flushAfter(this.#limits.lastUsedFlushMs);
      if (isFirst) this.#firstTimer ??= this.#flushAfter(Math.min(firstUseMs, this.#limits.lastUsedFlushMs));
    }
  }

  #flushAfter(ms: number): NodeJS.Timeout {
    // The timer need not keep the process alive, because closing flushes too.
    return realTime.setTimeout(() => void this.flush(), ms).unref();
  }

  async flush(): Promise<void> {
    realTime.clearTimeout(this.#timer);
    realTime.clearTimeout(this.#firstTimer);
    this.#timer = undefined;
    this.#firstTimer = undefined;
    const uses = [...this.#uses].map(([tokenId, at]) => ({ tokenId, at }));
    this.#uses = new Map();
    for (let start = 0; start < uses.length; start += tokenUsesMax) {
      await this.#inbox.post([
        ++this.#envelopeId,
        false,
        ["tokens.recordUse", [uses.slice(start, start + tokenUsesMax)], undefined],
      ]);
    }
  }
}
