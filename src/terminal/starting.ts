// A line that says that something is starting, on a terminal, until there is something better to show.
import type { Output } from "./output.ts";
import { paint } from "./table.ts";

/** Shows the line, and returns a function that removes it. Elsewhere than on a terminal, nothing is shown. */
export function showStarting(output: Output, text: string): () => void {
  if (!output.isTerminal) return () => undefined;
  let isShown = true;
  output.write(` ${paint("dim", text, output)}\n`);
  return () => {
    if (isShown) output.write("\x1b[1A\r\x1b[J");
    isShown = false;
  };
}
