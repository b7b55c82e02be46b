// The entry point for tests of code that uses a store; re-exports only.
export { type TestClock, testClock } from "../clock.ts";
export { storeError } from "../errors.ts";
export {
  type FakeArtifact,
  type FakeOutput,
  type FakeRule,
  type FakeRun,
  type FakeRunner,
  type FakeRunnerOptions,
  type FakeScript,
  fakeRunner,
} from "./fakeRunner.ts";
export { fixtures } from "./fixtures.ts";
export { openTestStore, type TestStoreOptions } from "./memory.ts";
export { type StubCall, type StubMethods, type StubStore, stubStore } from "./stub.ts";
