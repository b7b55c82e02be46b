// A view of the page: an element that can be told what has changed, and that ends when another one is opened.
import type { Api } from "./api.ts";
import type { ChangeJson } from "./json.ts";
import type { Names } from "./names.ts";

export interface View {
  readonly element: HTMLElement;
  readonly title: string;
  onChanges?(changes: readonly ChangeJson[]): void;
  /** Called when anything may have changed. */
  onReset?(): void;
  end?(): void;
}

/** The services that views are made with. */
export interface Surroundings {
  readonly api: Api;
  readonly names: Names;
  /** Shows a message for a moment. */
  say(text: string): void;
  /** Shows a failure. */
  fail(error: unknown): void;
}
