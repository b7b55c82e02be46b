// When tokens were last used. Verifying one only reads; what it leaves is gathered here and written now and then, many
// in one call (D-052).
import type { Limits } from "../limits.ts";
import { tokenUsesMax } from "../operations/tokens.ts";
import type { Inbox } from "./mailbox.ts";

export class LastUsed {
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
      this.#timer = setTimeout(() => void this.flush(), this.#limits.lastUsedFlushMs);
      // Whoever has nothing else to do may end; close flushes.
      this.#timer.unref();
    }
  }

  async flush(): Promise<void> {
    clearTimeout(this.#timer);
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
