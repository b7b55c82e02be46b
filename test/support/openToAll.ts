// Tells whether processes of other users can reach a folder.
import { statSync } from "node:fs";
import { dirname } from "node:path";

/** Checks whether every user may enter a folder and all folders above it. */
export function isOpenToAll(folder: string): boolean {
  const above = dirname(folder);
  return (statSync(folder).mode & 0o001) !== 0 && (above === folder || isOpenToAll(above));
}
