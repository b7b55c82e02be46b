// The head of the page: the places to go, whether the page is live, and whose token it has.
import type { Api } from "./api.ts";
import { h } from "./dom.ts";
import type { LiveState } from "./feed.ts";
import { places } from "./routes.ts";

const words: Readonly<Record<LiveState, string>> = {
  connecting: "Connecting",
  live: "Live",
  polling: "Every 5 s",
  lost: "No connection",
};

export class Header {
  readonly #root: HTMLElement;
  readonly #api: Api;
  readonly #signOut: () => void;
  readonly #state = h("span", { class: "live", role: "status" });
  readonly #nav = h("nav", { "aria-label": "Lists" });
  #usual: LiveState = "connecting";

  constructor(root: HTMLElement, api: Api, signOut: () => void) {
    this.#root = root;
    this.#api = api;
    this.#signOut = signOut;
  }

  show(): void {
    const links = places
      .filter(({ scopes }) => scopes.length === 0 || scopes.some((scope) => this.#api.may(scope)))
      .map(({ name, title }) => h("a", { href: `#/${name}` }, title));
    this.#nav.replaceChildren(...links);
    this.#root.replaceChildren(
      h(
        "a",
        { class: "brand", href: "#/sessions" },
        h("img", { src: "page/icon.svg", alt: "", width: 22, height: 22 }),
        h("span", {}, "debug-server-db"),
      ),
      this.#nav,
      h(
        "div",
        { class: "who" },
        this.#state,
        h("span", { class: "account" }, this.#api.self?.account?.name),
        h("button", { type: "button", onclick: this.#signOut }, "Sign out"),
      ),
    );
    this.setState(this.#usual);
  }

  hide(): void {
    this.#root.replaceChildren();
    this.#usual = "connecting";
  }

  setState(state: LiveState): void {
    // After a cut, the page is as live as it was before.
    if (state === "polling" || (state === "live" && this.#usual !== "polling")) this.#usual = state;
    const shown = state === "lost" ? state : this.#usual;
    this.#state.dataset.state = shown;
    if (this.#state.textContent !== words[shown]) this.#state.textContent = words[shown];
  }

  /** Marks the place of an address. */
  mark(hash: string): void {
    for (const link of this.#nav.querySelectorAll("a")) {
      const isCurrent = `${hash}/`.startsWith(`${link.hash}/`);
      if (isCurrent) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      if (isCurrent) this.#reveal(link);
    }
  }

  /** Scrolls the places as little as shows a link. `scrollIntoView` would also let Tab begin behind it. */
  #reveal(link: HTMLElement): void {
    const { left, right } = this.#nav.getBoundingClientRect();
    const place = link.getBoundingClientRect();
    this.#nav.scrollLeft += Math.min(0, place.left - left) + Math.max(0, place.right - right);
  }
}
