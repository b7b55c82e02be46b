// demo --debug drives a debugger, and debug show prints its sessions.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type DebugView, openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { git, isAlive, run, startProcess, withStore, workingFolder } from "./commandLine.ts";

const one = ["demo", "--commits", "1", "--runners", "1"];

suite("debug", { concurrency: 2 }, () => {
  test("demo --debug drives Node's inspector in a worktree, and debug show prints the result", async (t) => {
    const { folder, url } = workingFolder(t, { commits: 1 });
    const { code, stdout, stderr } = await run(folder, [...one, "--debug"]);
    assert.equal(code, 0, stderr);
    for (const said of [
      /^start: stopped \(entry\)/m,
      /^continue: stopped \(breakpoint\) in sum, line 11, epoch 3$/m,
      /^stepIn: stopped \(step\) in square/m,
      /^next: stopped \(step\) in square/m,
      /^stepOut: stopped \(step\) in sum/m,
      /^a breakpoint is moved while the program is stopped: line 13 to 16$/m,
      /^continue: stopped \(breakpoint\) in sum, line 16/m,
    ]) {
      assert.match(stderr, said);
    }
    assert.match(stdout, /^demo \(node-inspector, launch, [0-9a-f-]{36}\): terminated, exit code 0$/m);
    assert.match(stdout, /^stops: 1, 3, 5, 7, 9, 11$/m);
    assert.match(stdout, /^last output: the sum of the squares is 30$/m);
    const [, sessionId = ""] = /debug show ([0-9a-f-]{36})/.exec(stdout) ?? [];

    const shown = await run(folder, ["debug", "show", sessionId, "--epoch", "3"]);
    assert.deepEqual([shown.code, shown.stderr], [0, ""]);
    assert.match(
      shown.stdout,
      /^ {2}1 main\n {4}sum +\S+debug-demo\.mjs:11\n {4}\(anonymous\) +\S+debug-demo\.mjs:19\n/m,
    );
    assert.match(shown.stdout, /^ +n = 3$/m);
    assert.match(shown.stdout, /^ +apiToken = \*\*\*$/m);
    assert.match(shown.stdout, /debug-demo\.mjs:11 +n === 3 +verified +1$/m);
    assert.match(shown.stdout, /log "squaring \{n\}" +verified +0$/m);
    const json = JSON.parse(
      (await run(folder, ["debug", "show", sessionId, "--json", "--events", "500"])).stdout,
    ) as DebugView[];
    assert.deepEqual(
      json.map(({ debugSession }) => debugSession.state),
      ["terminated"],
    );
    assert.ok(!JSON.stringify(json).includes("must-not-be-shown"));

    await withStore(url, async (store) => {
      const [command] = (await store.commands.list({ sessionId })).items;
      assert.deepEqual(
        [command?.state, command?.exitCode, (await store.sessions.get({ sessionId })).state],
        ["succeeded", 0, "completed"],
      );
      const { chunks } = await store.logs.read({ commandId: command?.id as string });
      assert.match(
        Buffer.concat(chunks.filter(({ stream }) => stream === "stdout").map(({ data }) => data)).toString(),
        /^squaring 1\nsquaring 2\nsquaring 3\nsquaring 4\nthe sum of the squares is 30\n$/,
      );
      assert.deepEqual(
        (await store.worktrees.list()).items.map(({ state }) => state),
        ["idle"],
      );
    });
    const [line = ""] = git(folder, "worktree", "list", "--porcelain")
      .split("\n")
      .filter((line) => line.startsWith("worktree "))
      .slice(1);
    assert.equal(git(line.slice("worktree ".length), "status", "--porcelain"), "");
  });

  test("Ctrl-C while the program is stopped ends it, cancels its session and releases the worktree", async (t) => {
    const { folder, url } = workingFolder(t, { commits: 1 });
    const demo = startProcess(folder, [...one, "--debug"]);
    await demo.said("start: stopped");
    demo.kill("SIGINT");
    const { code, stderr } = await demo.ended;
    assert.equal(code, 130, stderr);
    await withStore(url, async (store) => {
      const [, session] = (await store.sessions.list()).items;
      assert.deepEqual([session?.state, session?.endReason], ["cancelled", "interrupted"]);
      const [debugSession] = (await store.debug.list({ sessionId: session?.id as string })).items;
      assert.equal(debugSession?.state, "terminated");
      const payload = debugSession?.payload as { pid: number } | undefined;
      assert.ok(payload !== undefined && !isAlive(payload.pid));
      for (const { state } of (await store.worktrees.list()).items) assert.ok(["idle", "dirty"].includes(state), state);
    });
  });

  test("debug show prints the threads, frames, breakpoints and last output of a stopped program", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const store = await openStore({ url });
    const { debugSessionId, adapterRun, view } = await fixtures(store).debugStop({ name: "main\u001b[31m" });
    await store.debug.applyEvent({
      debugSessionId,
      adapterRun,
      seq: 3,
      event: "output",
      body: { category: "stdout", output: "hello\u001b[2J\n" },
    });
    await store.close();
    const { code, stdout, stderr } = await run(folder, ["debug", "show", debugSessionId, "--url", url]);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.equal(
      stdout.replace(/\d\d:\d\d:\d\d\.\d{3}/g, "TIME"),
      [
        `main (node, launch, ${debugSessionId}): stopped, breakpoint, thread 1, epoch 1`,
        "threads",
        "* 1 main (breakpoint)",
        "    main  /srv/main.js:3",
        "    Locals",
        "      x = 1",
        "breakpoints",
        "     kind    at              when  bound     hits",
        "  *  source  /srv/main.js:3        verified     1",
        "stops: 1",
        "events",
        "     at            event",
        "  1  TIME  initialized",
        "  2  TIME  stopped      breakpoint",
        "  3  TIME  output       hello",
        "last output: hello",
        "",
      ].join("\n"),
    );
    const bySession = await run(folder, ["debug", "show", view.debugSession.sessionId, "--url", url, "--json"]);
    assert.deepEqual(JSON.parse(bySession.stdout)[0].debugSession.id, debugSessionId);
  });

  test("debug request asks the debugger that another process holds, and debug show --history tells of it", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const store = await openStore({ url });
    t.after(() => store.close());
    const { debugSessionId, adapterRun, view } = await fixtures(store).debugStop({ name: "main" });
    const { sessionId } = view.debugSession;
    const adapter = { debugSessionId, adapterRun };
    const bridge = async (count: number) => {
      for (let answered = 0; answered < count; ) {
        const { requests } = await store.debug.takeRequests({ ...adapter, waitMs: 60_000 });
        for (const request of requests) {
          const { command, arguments: args, stopEpoch, requestedBy } = request;
          assert.match(requestedBy ?? "", /^cli:/);
          const response =
            command === "next"
              ? { body: { stopEpoch } }
              : args?.expression === "x"
                ? { success: false, message: "x is not defined" }
                : { body: { result: "2", variablesReference: 0 } };
          await store.debug.reply({ ...adapter, request, ...response }, { actor: "bridge" });
          answered++;
        }
      }
    };
    const serving = bridge(3);
    const evaluate = (expression: string) => [
      "debug",
      "request",
      sessionId,
      "evaluate",
      "--arguments",
      JSON.stringify({ expression }),
    ];
    const two = await run(folder, [...evaluate("1 + 1"), "--url", url]);
    assert.deepEqual([two.code, two.stdout], [0, '{"result":"2","variablesReference":0}\n'], two.stderr);
    const refused = await run(folder, [...evaluate("x"), "--url", url]);
    assert.deepEqual([refused.code, refused.stderr], [1, "debug-server-db: x is not defined\n"]);
    const next = await run(folder, ["debug", "request", debugSessionId, "next", "--url", url, "--json"]);
    assert.deepEqual([JSON.parse(next.stdout).success, JSON.parse(next.stdout).body], [true, { stopEpoch: 1 }]);
    await serving;
    const late = await run(folder, ["debug", "request", debugSessionId, "next", "--epoch", "1", "--url", url]);
    assert.equal(late.code, 1);
    assert.match(late.stderr, /the stop 1 of debug session \S+ is over/);
    const wrong = await run(folder, ["debug", "request", debugSessionId, "evaluate", "--arguments", "1", "--url", url]);
    assert.equal(wrong.code, 2);
    const shown = await run(folder, ["debug", "show", sessionId, "--history", "--url", url]);
    const history = shown.stdout.slice(shown.stdout.indexOf("history of main"));
    assert.deepEqual(
      history
        .replace(/\d\d:\d\d:\d\d\.\d{3}/g, "TIME")
        .replace(/cli:\S+/g, "CLI")
        .replaceAll(/ +/g, " ")
        .trimEnd()
        .split("\n")
        .slice(2),
      [
        " 1 TIME opened",
        ' 2 TIME state "state":"running"',
        ' 3 TIME breakpoints "kind":"source","sourcePath":"/srv/main.js","count":1,"breakpoints":[{"line":3}]',
        ' 4 TIME CLI asked evaluate "expression":"1 + 1"',
        " 5 TIME bridge answered evaluate: 2",
        ' 6 TIME CLI asked evaluate "expression":"x"',
        " 7 TIME bridge answered evaluate: refused: x is not defined",
        " 8 TIME CLI asked next",
        ' 9 TIME bridge answered next: "stopEpoch":1',
        '10 TIME bridge state "state":"running"',
      ],
    );
    const [json] = JSON.parse(
      (await run(folder, ["debug", "show", sessionId, "--history", "--json", "--url", url])).stdout,
    );
    assert.equal(json.history.length, 10);
  });

  test("an unknown id, or text that is no id, is reported in one sentence", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    await (await openStore({ url })).close();
    const unknown = await run(folder, ["debug", "show", crypto.randomUUID(), "--url", url]);
    assert.deepEqual([unknown.code, unknown.stdout], [1, ""]);
    assert.match(unknown.stderr, /^debug-server-db: .+\n$/);
    const malformed = await run(folder, ["debug", "show", "x", "--url", url]);
    assert.deepEqual([malformed.code, malformed.stdout], [2, ""]);
    assert.match(malformed.stderr, /must be a UUID in lower case\n$/);
    const nowhere = await run(folder, ["debug", "show", crypto.randomUUID(), "--url", `${url}.none`]);
    assert.equal(nowhere.code, 1);
  });
});
