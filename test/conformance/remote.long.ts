// The whole conformance suite on a store over HTTP.
import { conformance } from "./conformance.ts";

await conformance("remote", { whole: true });
