// A process that checks a commit out under a guardian: guardedCheckout.ts REPOSITORY ROOT PATH COMMIT
import { checkOut, openRepository, startGuard } from "../../../../src/runner/index.ts";

const [source = "", worktreesRoot = "", path = "", commitSha = ""] = process.argv.slice(2);
const { signal } = new AbortController();
const guard = await startGuard();
const repository = await openRepository(source, { mirrorsFolder: worktreesRoot, signal, guard });
await checkOut({ repository, worktreesRoot, path, commitSha, signal, guard });
