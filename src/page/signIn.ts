// The question for a token.
import { type Api, Problem } from "./api.ts";
import { h } from "./dom.ts";

/** Returns a form that asks for a token, and calls `done` when the server has accepted one. */
export function signIn(api: Api, reason: string, done: () => void): HTMLElement {
  const input = h("input", {
    type: "password",
    id: "token",
    name: "token",
    required: true,
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "dsp_…",
  });
  const failure = h("p", { class: "failure", role: "alert" }, reason);
  const button = h("button", { type: "submit", class: "primary" }, "Sign in");
  const submit = async (event: Event) => {
    event.preventDefault();
    button.disabled = true;
    failure.textContent = "";
    try {
      await api.signIn(input.value.trim());
      done();
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) failure.textContent = (error as Error).message;
      api.signOut();
    } finally {
      button.disabled = false;
    }
  };
  return h(
    "form",
    { class: "sign-in", onsubmit: (event) => void submit(event) },
    h("h1", { tabindex: -1 }, "debug-server-db"),
    h("label", { for: "token" }, "Token"),
    input,
    failure,
    button,
    h(
      "p",
      { class: "hint" },
      "The token stays in this tab, and is gone when it is closed. The page shows what the token may read. Create one with ",
      h("code", {}, "debug-server-db admin create-token"),
      ".",
    ),
  );
}
