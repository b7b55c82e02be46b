// A command that prints far more than its log holds; output.long.ts has one of 10 GB.
import { testOutput } from "./output.ts";

testOutput(60e6);
