// The conformance suite on a store in memory, and the plans of the statements that it prepares.
import { conformance } from "./conformance.ts";
import { describeQueryPlans, recordStatements } from "./queryPlans.ts";

const statements = await recordStatements();
await conformance("memory");
describeQueryPlans(statements);
