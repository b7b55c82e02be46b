// Questions before something is done: a dialog that says what will happen, and shows the failure if it does not.
import { h } from "./dom.ts";

/** A field of a question. */
export type Field =
  | { readonly name: string; readonly label: string; readonly type: "text" }
  | { readonly name: string; readonly label: string; readonly type: "check" }
  | {
      readonly name: string;
      readonly label: string;
      readonly type: "choice";
      readonly choices: Readonly<Record<string, string>>;
    };

export interface Question {
  readonly title: string;
  readonly text: string;
  readonly fields?: readonly Field[];
  /** The word on the button. */
  readonly label: string;
  readonly isDanger?: boolean;
  run(values: Readonly<Record<string, unknown>>): Promise<void>;
}

/** Asks, and runs what is confirmed. The dialog closes when that has succeeded. */
export function ask({ title, text, fields = [], label, isDanger = false, run }: Question): void {
  const opener = document.activeElement;
  const inputs = fields.map((field) => ({ field, input: inputOf(field) }));
  const failure = h("p", { class: "failure", role: "alert" });
  const confirm = h("button", { type: "submit", class: isDanger ? "danger" : "primary" }, label);
  const cancel = h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Back");
  const form = h(
    "form",
    { onsubmit: (event) => void submit(event) },
    h("h2", { id: "dialog-title" }, title),
    h("p", { id: "dialog-text" }, text),
    ...inputs.map(({ field, input }) =>
      h("label", { class: `field ${field.type}` }, h("span", {}, field.label), input),
    ),
    failure,
    h("div", { class: "buttons" }, cancel, confirm),
  );
  const dialog = h("dialog", { "aria-labelledby": "dialog-title", "aria-describedby": "dialog-text" }, form);
  const submit = async (event: Event) => {
    event.preventDefault();
    confirm.disabled = true;
    failure.textContent = "";
    try {
      await run(Object.fromEntries(inputs.map(({ field, input }) => [field.name, valueIn(input)])));
      dialog.close();
    } catch (error) {
      failure.textContent = (error as Error).message;
      confirm.disabled = false;
    }
  };
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (opener instanceof HTMLElement) opener.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  cancel.focus();
}

type Input = HTMLInputElement | HTMLSelectElement;

function inputOf(field: Field): Input {
  if (field.type === "check") return h("input", { type: "checkbox", name: field.name });
  if (field.type === "text")
    return h("input", { type: "text", name: field.name, maxlength: 1_000, autocomplete: "off" });
  return h(
    "select",
    { name: field.name },
    ...Object.entries(field.choices).map(([value, text]) => h("option", { value }, text)),
  );
}

function valueIn(input: Input): string | boolean | undefined {
  if (input instanceof HTMLInputElement && input.type === "checkbox") return input.checked;
  return input.value === "" ? undefined : input.value;
}
