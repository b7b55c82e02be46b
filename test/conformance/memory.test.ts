// The conformance suite on a store in memory.
import { conformance } from "./conformance.ts";

await conformance("memory");
