// Creates the repository that the tests of git share, and finds worktrees in it.
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type GitRepository, openRepository } from "../../../../src/runner/index.ts";
import { temporaryFolder } from "../../../support/temporaryFolder.ts";
import { git } from "../../cli/commandLine.ts";

export interface TestRepository {
  readonly repository: GitRepository;
  /** The repository's own folder. */
  readonly home: string;
  /** The folder for worktrees. */
  readonly worktreesRoot: string;
  /** Two commits. In the second, `src/main.txt` is changed. */
  readonly commits: readonly [string, string];
}

export const never = new AbortController().signal;

export async function testRepository(): Promise<TestRepository> {
  const folder = temporaryFolder();
  const [home, worktreesRoot] = [join(folder, "home"), join(folder, "worktrees")];
  mkdirSync(join(home, "src"), { recursive: true });
  git(home, "init", "--quiet", "--initial-branch=main");
  writeFileSync(join(home, ".gitignore"), "cache/\n");
  writeFileSync(join(home, "tool.sh"), "true\n");
  chmodSync(join(home, "tool.sh"), 0o755);
  const commit = (content: string): string => {
    writeFileSync(join(home, "src/main.txt"), content);
    git(home, "add", ".");
    git(home, "commit", "--quiet", "--message", content);
    return git(home, "rev-parse", "HEAD").trim();
  };
  const commits = [commit("one\n"), commit("two\n")] as const;
  const repository = await openRepository(home, { mirrorsFolder: join(folder, "mirrors"), signal: never });
  return { repository, home, worktreesRoot, commits };
}
