// The page: it signs in with a token, opens the view that the address names, and tells it what changes.
import { Api, Problem } from "./api.ts";
import { h, refreshTimes } from "./dom.ts";
import { Feed } from "./feed.ts";
import { Header } from "./header.ts";
import { Names } from "./names.ts";
import { Notices } from "./notices.ts";
import { openRoute } from "./routes.ts";
import { signIn } from "./signIn.ts";
import type { Surroundings, View } from "./view.ts";

/** The time after which a page whose server is away asks again, in milliseconds. */
const retryMs = 1_000;
const main = document.getElementById("main") as HTMLElement;
const notices = new Notices(document.getElementById("notice") as HTMLElement);
const api = new Api({
  onConnection(isConnected) {
    notices.connection(isConnected);
    header.setState(isConnected ? "live" : "lost");
    if (isConnected) view?.onReset?.();
  },
  onUnauthorized: () => signOut("This token is refused. It may have expired, or somebody has revoked it."),
});
const header = new Header(document.getElementById("header") as HTMLElement, api, () => signOut());
let feed: Feed | undefined;
let view: View | undefined;
let surroundings: Surroundings | undefined;

/** Opens the view of the address. `isMove` tells that a person has gone there, so the focus goes along. */
function open(isMove: boolean): void {
  if (surroundings === undefined) return;
  view?.end?.();
  view = openRoute(location.hash, surroundings);
  main.replaceChildren(view.element);
  document.title = `${view.title} – debug-server-db`;
  header.mark(location.hash);
  if (!isMove) return;
  window.scrollTo(0, 0);
  // A view that reads its row first has its heading from the beginning.
  (main.querySelector<HTMLElement>("h1") ?? main).focus({ preventScroll: true });
}

function start(): void {
  surroundings = {
    api,
    names: new Names(api),
    say: (text) => notices.say(text),
    fail: (error) => notices.fail(error),
  };
  header.show();
  if (location.hash === "") history.replaceState(null, "", "#/sessions");
  open(false);
  feed = new Feed(api, {
    onChanges: (changes) => view?.onChanges?.(changes),
    onReset: () => view?.onReset?.(),
    onState: (state) => header.setState(state),
  });
  void feed.run();
}

function signOut(reason = ""): void {
  feed?.end();
  view?.end?.();
  view = undefined;
  surroundings = undefined;
  api.signOut();
  header.hide();
  askForToken(reason);
}

function askForToken(reason: string): void {
  document.title = "Sign in – debug-server-db";
  main.replaceChildren(signIn(api, reason, start));
  main.querySelector("input")?.focus();
}

async function begin(): Promise<void> {
  if (!api.hasToken) return askForToken("");
  main.replaceChildren(h("p", { class: "empty" }, "Loading …"));
  for (;;) {
    try {
      await api.readSelf();
      return start();
    } catch (error) {
      // A refused token has led to the question for another one already.
      if (!api.hasToken) return;
      if (!(error instanceof Problem && error.retryable)) return askForToken((error as Error).message);
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
}

// The address is that of a view, so the link cannot lead to a place in the page.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", () => open(true));
setInterval(() => refreshTimes(document), 1_000);
void begin();
