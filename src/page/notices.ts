// Notices for a person: that the connection is gone, that something is done, that something has failed.
import { h, printable } from "./dom.ts";

const saidMs = 5_000;

export class Notices {
  readonly #root: HTMLElement;
  #connection: HTMLElement | undefined;
  #last = "";

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  connection(isConnected: boolean): void {
    this.#connection?.remove();
    this.#connection = undefined;
    if (isConnected) this.say("Connected again");
    else {
      this.#connection = h("p", { class: "notice is-lost" }, "The server cannot be reached. Trying again …");
      this.#root.prepend(this.#connection);
    }
  }

  say(text: string): void {
    this.#show(h("p", { class: "notice" }, text), saidMs);
  }

  /** Shows a failure, once while it is in view. The loss of the connection has a notice of its own. */
  fail(error: unknown): void {
    const { message, code } = error as { message: string; code?: string };
    if (code === "unreachable" || message === this.#last) return;
    this.#last = message;
    const notice = h(
      "p",
      { class: "notice is-failure" },
      printable(message),
      h("button", { type: "button", "aria-label": "Dismiss", onclick: () => notice.remove() }, "×"),
    );
    this.#show(notice, 2 * saidMs);
  }

  #show(notice: HTMLElement, ms: number): void {
    this.#root.append(notice);
    setTimeout(() => {
      notice.remove();
      this.#last = "";
    }, ms);
  }
}
