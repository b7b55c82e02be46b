// Quotes text for shell commands that a message asks the reader to run.

/** Quotes a text for a POSIX shell. A text that needs no quotes stays as it is. */
export function quote(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
