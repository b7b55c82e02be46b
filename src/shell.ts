// Quotes text for the commands that a person is asked to run.

/** Quotes a text for a POSIX shell; plain words stay as they are. */
export function quote(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
