// A command that prints 10 GB, of which the log keeps 16 MiB.
import { testOutput } from "./output.ts";

testOutput(10e9);
