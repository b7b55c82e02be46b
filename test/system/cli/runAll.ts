// Runs commands one after the other in this process, for tests that start it as another user or on another file system,
// and prints how each has ended as JSON. The argument is the list of their arguments as JSON.
import { type Ended, run } from "./commandLine.ts";

const ended: Ended[] = [];
for (const args of JSON.parse(process.argv[2] ?? "") as readonly (readonly string[])[])
  ended.push(await run(process.cwd(), args));
process.stdout.write(JSON.stringify(ended));
