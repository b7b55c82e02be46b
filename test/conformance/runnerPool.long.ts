// The whole conformance suite on calls from a runner pool.
import { conformance } from "./conformance.ts";

await conformance("runnerPool", { whole: true });
