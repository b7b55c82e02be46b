// The program and the arguments of a command as text, with what looks like a credential masked.
import { maskArguments } from "../model/masking.ts";
import { quote } from "../shell.ts";

/** Formats them for a narrow column, without quotation marks. */
export function formatArguments(argv: readonly string[]): string {
  return maskArguments(argv).join(" ");
}

/** Formats them as a shell takes them. */
export function quoteArguments(argv: readonly string[]): string {
  return maskArguments(argv).map(quote).join(" ");
}
