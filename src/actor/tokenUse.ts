// The times at which tokens were last used. Verifying a token only reads, so its use is noted here and written later,
// together with others (D-052).

import type { Limits } from "../limits.ts";
import { tokenUsesMax } from "../operations/tokens.ts";
import { realTime } from "../realTime.ts";
import type { Inbox } from "./mailbox.ts";

export class TokenUses {
  readonly #inbox: Inbox;
  readonly #limits: Limits;
  #uses = new Map<string, Date>();
  #timer: NodeJS.Timeout | undefined;
  #envelopeId = 0;

  constructor(inbox: Inbox, limits: Limits) {
    this.#inbox = inbox;
    this.#limits = limits;
  }

  note(tokenId: string, at: Date): void {
    this.#uses.set(tokenId, at);
    if (this.#uses.size >= this.#limits.lastUsedTokens) void this.flush();
    else if (this.#timer === undefined) {
      this.#timer = realTime.setTimeout(() => void this.flush(), this.#limits.lastUsedFlushMs);
      // The timer need not keep the process alive, because closing flushes too.
      this.#timer.unref();
    }
  }

  async flush(): Promise<void> {
    realTime.clearTimeout(this.#timer);
    this.#timer = undefined;
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
