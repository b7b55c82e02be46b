// Every subject on every backend.
import { describe } from "node:test";
import { backends } from "../support/backends.ts";
import { accountsConformance } from "./accounts.ts";
import { artifactsConformance } from "./artifacts.ts";
import { callsConformance } from "./calls.ts";
import { changesConformance } from "./changes.ts";
import { commandsConformance } from "./commands.ts";
import { concurrencyConformance } from "./concurrency.ts";
import { debugConformance } from "./debug.ts";
import { errorsConformance } from "./errors.ts";
import { healthConformance } from "./health.ts";
import { idempotencyConformance } from "./idempotency.ts";
import { lifeCycleConformance } from "./lifeCycle.ts";
import { lockingConformance } from "./locking.ts";
import { logsConformance } from "./logs.ts";
import { maintenanceConformance } from "./maintenance.ts";
import { readsConformance } from "./reads.ts";
import { repositoriesConformance } from "./repositories.ts";
import { runnersConformance } from "./runners.ts";
import { sessionsConformance } from "./sessions.ts";
import { tokensConformance } from "./tokens.ts";
import { transactionsConformance } from "./transactions.ts";
import { valuesConformance } from "./values.ts";
import { worktreesConformance } from "./worktrees.ts";

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
