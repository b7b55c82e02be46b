// The conformance suite on PostgreSQL.
import { conformance } from "./conformance.ts";

await conformance("postgres");
