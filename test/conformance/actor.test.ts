// The conformance suite on a file and a database thread.
import { conformance } from "./conformance.ts";

await conformance("actor");
