// The entry point for tests of code that uses a store; re-exports only.
export { type TestClock, testClock } from "../clock.ts";
export { storeError } from "../errors.ts";
export { fixtures } from "./fixtures.ts";
export { openTestStore, type TestStoreOptions } from "./memory.ts";
export { type StubCall, type StubMethods, type StubStore, stubStore } from "./stub.ts";
