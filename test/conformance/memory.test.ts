// The conformance suite on a store in memory, the plans of the statements that it prepares, and the rows of the change
// feed that it writes.
import { conformance } from "./conformance.ts";
import { describeFeedCoverage, recordChanges } from "./feedCoverage.ts";
import { describeQueryPlans, recordStatements } from "./queryPlans.ts";

const changes = recordChanges();
const statements = await recordStatements();
await conformance("memory");
describeQueryPlans(statements);
describeFeedCoverage(changes);
