// Creates the temporary folders of tests.
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folders: string[] = [];

/**
 * Creates a folder, and returns its real path. The folder is removed when the process exits, and not when the test
 * ends, so that no file goes away under a store that is still open.
 */
export function temporaryFolder(): string {
  if (folders.length === 0) process.once("exit", removeFolders);
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "debug-server-db-")));
  folders.push(folder);
  return folder;
}

function removeFolders(): void {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}
