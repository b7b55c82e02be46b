// Every subject on every backend.
import { describe } from "node:test";
import { backends } from "./backends.ts";
import { accountsConformance } from "./conformance/accounts.ts";
import { artifactsConformance } from "./conformance/artifacts.ts";
import { callsConformance } from "./conformance/calls.ts";
import { changesConformance } from "./conformance/changes.ts";
import { commandsConformance } from "./conformance/commands.ts";
import { concurrencyConformance } from "./conformance/concurrency.ts";
import { debugConformance } from "./conformance/debug.ts";
import { errorsConformance } from "./conformance/errors.ts";
import { healthConformance } from "./conformance/health.ts";
import { idempotencyConformance } from "./conformance/idempotency.ts";
import { lifeCycleConformance } from "./conformance/lifeCycle.ts";
import { lockingConformance } from "./conformance/locking.ts";
import { logsConformance } from "./conformance/logs.ts";
import { maintenanceConformance } from "./conformance/maintenance.ts";
import { readsConformance } from "./conformance/reads.ts";
import { repositoriesConformance } from "./conformance/repositories.ts";
import { runnersConformance } from "./conformance/runners.ts";
import { sessionsConformance } from "./conformance/sessions.ts";
import { tokensConformance } from "./conformance/tokens.ts";
import { transactionsConformance } from "./conformance/transactions.ts";
import { valuesConformance } from "./conformance/values.ts";
import { worktreesConformance } from "./conformance/worktrees.ts";

// Backends side by side: most of their time is spent waiting for threads and disks.
describe("conformance", { concurrency: true }, () => {
  for (const backend of backends) {
    describe(backend.name, { concurrency: false }, () => {
      callsConformance(backend);
      valuesConformance(backend);
      transactionsConformance(backend);
      lockingConformance(backend);
      concurrencyConformance(backend);
      readsConformance(backend);
      errorsConformance(backend);
      lifeCycleConformance(backend);
      repositoriesConformance(backend);
      runnersConformance(backend);
      worktreesConformance(backend);
      sessionsConformance(backend);
      commandsConformance(backend);
      logsConformance(backend);
      debugConformance(backend);
      artifactsConformance(backend);
      accountsConformance(backend);
      tokensConformance(backend);
      idempotencyConformance(backend);
      changesConformance(backend);
      maintenanceConformance(backend);
      healthConformance(backend);
    });
  }
});
