// The table of all operations. A name is an entity and a verb: the keys of this table. The table is explicit, because
// it decides what a port can reach.
import * as accounts from "./accounts.ts";
import * as artifacts from "./artifacts.ts";
import * as changes from "./changes.ts";
import * as commandExplain from "./commandExplain.ts";
import * as commands from "./commands.ts";
import * as consume from "./consume.ts";
import * as consumers from "./consumers.ts";
import * as debug from "./debug.ts";
import * as debugBreakpoints from "./debugBreakpoints.ts";
import * as debugEvents from "./debugEvents.ts";
import * as debugHistory from "./debugHistory.ts";
import * as debugRequests from "./debugRequests.ts";
import * as debugStops from "./debugStops.ts";
import * as debugView from "./debugView.ts";
import * as environmentEviction from "./environmentEviction.ts";
import * as environments from "./environments.ts";
import * as events from "./events.ts";
import * as files from "./files.ts";
import * as fsck from "./fsck.ts";
import * as logAppend from "./logAppend.ts";
import * as logArchiving from "./logArchiving.ts";
import * as logMoves from "./logMoves.ts";
import * as logRead from "./logRead.ts";
import * as logTimeline from "./logTimeline.ts";
import * as maintenance from "./maintenance.ts";
import * as observing from "./observing.ts";
import * as patches from "./patches.ts";
import * as prune from "./prune.ts";
import * as repositories from "./repositories.ts";
import * as retention from "./retention.ts";
import * as runners from "./runners.ts";
import * as sessionLabels from "./sessionLabels.ts";
import * as sessionLog from "./sessionLog.ts";
import * as sessions from "./sessions.ts";
import * as tokens from "./tokens.ts";
import * as usage from "./usage.ts";
import * as worktreeEviction from "./worktreeEviction.ts";
import * as worktrees from "./worktrees.ts";

export const operations = {
  repositories: {
    upsert: repositories.upsert,
    get: repositories.get,
    find: repositories.find,
    list: repositories.list,
    archive: repositories.archive,
    rename: repositories.rename,
  },
  runners: {
    register: runners.register,
    heartbeat: runners.heartbeat,
    drain: runners.drain,
    get: runners.get,
    list: runners.list,
  },
  worktrees: {
    reserve: worktrees.reserve,
    register: worktrees.register,
    ready: worktrees.ready,
    renew: worktrees.renew,
    update: worktrees.update,
    release: worktrees.release,
    quarantine: worktrees.quarantine,
    restore: worktrees.restore,
    adopt: worktrees.adopt,
    evict: worktreeEviction.evict,
    evictUnused: worktreeEviction.evictUnused,
    completeEvict: worktreeEviction.completeEvict,
    get: worktrees.get,
    list: worktrees.list,
  },
  sessions: {
    create: sessions.create,
    complete: sessions.complete,
    cancel: sessions.cancel,
    touch: sessions.touch,
    update: sessionLabels.update,
    pin: sessions.pin,
    get: sessions.get,
    list: sessions.list,
    wait: sessions.wait,
    delete: sessions.delete,
  },
  commands: {
    enqueue: commands.enqueue,
    claim: commands.claim,
    finish: commands.finish,
    handBack: commands.handBack,
    cancel: commands.cancel,
    get: commands.get,
    attempts: commands.attempts,
    explain: commandExplain.explain,
    list: commands.list,
    wait: commands.wait,
  },
  logs: {
    append: logAppend.append,
    read: logRead.read,
    follow: logRead.follow,
    followSession: sessionLog.followSession,
    timeline: logTimeline.timeline,
    mark: sessionLog.mark,
    archive: logArchiving.archive,
  },
  artifacts: {
    record: artifacts.record,
    begin: artifacts.begin,
    commit: artifacts.commit,
    get: artifacts.get,
    list: artifacts.list,
    delete: artifacts.delete,
    pin: artifacts.pin,
  },
  patches: {
    record: patches.record,
    get: patches.get,
    find: patches.find,
    list: patches.list,
    delete: patches.delete,
  },
  environments: {
    acquire: environments.acquire,
    renew: environments.renew,
    ready: environments.ready,
    fail: environments.fail,
    pin: environments.pin,
    get: environments.get,
    list: environments.list,
    delete: environments.delete,
    evict: environmentEviction.evict,
  },
  files: { claim: files.claim, acknowledge: files.acknowledge, fail: files.fail, list: files.list },
  accounts: {
    create: accounts.create,
    disable: accounts.disable,
    enable: accounts.enable,
    rename: accounts.rename,
    get: accounts.get,
    find: accounts.find,
    list: accounts.list,
  },
  tokens: {
    mint: tokens.mint,
    mintForSession: tokens.mintForSession,
    verify: tokens.verify,
    check: tokens.check,
    rotate: tokens.rotate,
    revoke: tokens.revoke,
    list: tokens.list,
    bootstrapAdmin: tokens.bootstrapAdmin,
  },
  debug: {
    open: debug.open,
    setBreakpoints: debugBreakpoints.setBreakpoints,
    bindBreakpoints: debugBreakpoints.bindBreakpoints,
    applyEvent: debugEvents.applyEvent,
    putStop: debugStops.putStop,
    patchState: debugStops.patchState,
    get: debugView.get,
    list: debug.list,
    follow: debug.follow,
    close: debug.close,
    request: debugRequests.request,
    takeRequests: debugRequests.takeRequests,
    reply: debugRequests.reply,
    cancelRequest: debugRequests.cancelRequest,
    history: debugHistory.history,
  },
  changes: {
    since: changes.since,
    watch: changes.watch,
    export: changes.export,
    publish: events.publish,
    consume: consume.consume,
    checkpoint: consumers.checkpoint,
    consumers: consumers.consumers,
    forget: consumers.forget,
  },
  usage: { days: usage.days },
  maintenance: {
    reap: maintenance.reap,
    prune: prune.prune,
    retention: retention.retention,
    setRetention: retention.setRetention,
    fsck: fsck.fsck,
    repair: fsck.repair,
    stats: observing.stats,
    health: observing.health,
  },
} as const;

export type Operations = typeof operations;

/** All operations, including those that the server calls itself and no port reaches. */
export const servedOperations = {
  ...operations,
  logMoves: {
    claim: logMoves.claim,
    read: logMoves.read,
    renew: logMoves.renew,
    commit: logMoves.commit,
    clear: logMoves.clear,
  },
  tokens: { ...operations.tokens, recordUse: tokens.recordUse },
  maintenance: { ...operations.maintenance, probe: observing.probe, pruneNext: prune.pruneNext },
} as const;
