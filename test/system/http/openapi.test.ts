// The API as its OpenAPI document describes it, for clients in other languages.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { z } from "zod";
import { type OperationName, operationScopes, requestFaults } from "../../../src/http/index.ts";
import { artifactKinds } from "../../../src/model/vocabulary.ts";
import { type Answer, type Sent, serveApi, without } from "./apiServer.ts";

const run = promisify(execFile);

interface Documented {
  readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly responses: Record<string, never> }>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

suite("the OpenAPI document", { concurrency: 3 }, () => {
  test("names every operation that can be reached, and every reference leads somewhere", async (t) => {
    const { ask } = await serveApi(t);
    const { status, body, text } = await ask("/openapi.json", { token: null });
    assert.equal(status, 200);
    const document = body as Documented & { readonly openapi: string };
    assert.equal(document.openapi, "3.1.0");
    const reachable = (Object.keys(operationScopes) as OperationName[]).filter(
      (name) => operationScopes[name] !== null,
    );
    const named = Object.keys(document.paths).filter((path) => path.includes(".") && path !== "/v1/artifacts.content");
    assert.deepEqual(
      named.filter((path) => path.startsWith("/v1/")).sort(),
      reachable.map((name) => `/v1/${name}`).sort(),
    );
    for (const [, reference = ""] of text.matchAll(/"\$ref": "#\/([^"]+)"/g)) {
      const target = reference
        .split("/")
        .reduce((place: unknown, key) => (place as Record<string, unknown>)?.[key], document);
      assert.notEqual(target, undefined, reference);
    }
    const ids = [...text.matchAll(/"operationId": "([^"]+)"/g)].map(([, id]) => id);
    assert.equal(new Set(ids).size, ids.length);
  });

  test("names the failures of requests, the query beside bytes, and the headers of a log", async (t) => {
    const { ask, tokenWith } = await serveApi(t, { bodyBytesMax: 100, wrongTokens: { max: 0 } });
    const { paths, components } = (await ask("/openapi.json")).body as {
      paths: Record<string, Record<string, { responses: object; parameters: { name?: string; schema?: object }[] }>>;
      components: { responses: Record<string, { description: string }> };
    };
    const described = Object.values(components.responses).map(({ description }) => description);
    for (const fault of Object.keys(requestFaults))
      assert.ok(
        described.some((text) => text.includes(`\`${fault}\`: `)),
        fault,
      );
    // Each failure that a request meets is one that its path names.
    const met: [string, string, Sent][] = [
      ["/v1/sessions.get", "post", { body: { sessionId: "x".repeat(100) } }],
      ["/v1/sessions.get", "post", { body: "x", headers: { "content-type": "text/plain" } }],
      ["/v1/sessions.get", "post", { method: "POST", token: "dsp_x" }],
      ["/v1/sessions.get", "post", { method: "POST", token: null }],
      ["/v1/sessions.get", "post", { method: "PUT" }],
      ["/v1/sessions.get", "post", { method: "POST", token: await tokenWith("logs:read") }],
      ["/v1/changes.watch", "get", { headers: { accept: "text/html" } }],
      ["/v1/artifacts.content", "post", { body: "x", headers: { "content-type": "multipart/form-data" } }],
    ];
    for (const [path, method, sent] of met) {
      const { status } = await ask(path, sent);
      assert.ok(Object.hasOwn(paths[path]?.[method]?.responses ?? {}, status), `${method} ${path}: ${status}`);
    }
    for (const [path, methods] of Object.entries(paths).filter(([name]) => name.startsWith("/v1/")))
      for (const [method, { responses }] of Object.entries(methods))
        assert.ok("default" in responses, `${method} ${path}`);
    const names = (path: string) => paths[path]?.post?.parameters.map(({ name }) => name);
    for (const field of ["commandId", "fence", "offset", "stream"])
      assert.ok(names("/v1/logs.append")?.includes(field));
    const kind = paths["/v1/artifacts.content"]?.post?.parameters.find(({ name }) => name === "kind");
    assert.deepEqual(kind?.schema, { ...kind?.schema, enum: [...artifactKinds] });
    const { headers } = (paths["/v1/logs.read"] as unknown as { get: { responses: [{ headers: object }] } }).get
      .responses[200 as 0];
    for (const name of ["X-Next-Offset", "X-Log-Ended", "X-Attempt", "X-Dropped-Bytes"]) assert.ok(name in headers);
  });

  test("names the reuse of an idempotency key, and no path with a secret in its query", async (t) => {
    const { ask, admin } = await serveApi(t);
    const { paths } = (await ask("/openapi.json")).body as Documented;
    assert.equal(paths["/v1/tokens.verify"]?.get, undefined);
    for (const method of ["GET", "POST"]) {
      const { status } = await ask(`/v1/tokens.verify?token=${admin}`, { method });
      assert.equal(status, method === "GET" ? 405 : 400);
    }
    assert.equal((await ask("/v1/tokens.verify", { body: { token: admin } })).status, 200);
    // Whatever only reads takes no key.
    for (const [path, { post, get }] of Object.entries(paths))
      if (path.includes(".") && path.startsWith("/v1/") && post !== undefined && get === undefined)
        assert.equal(Object.hasOwn(post.responses, 422), path !== "/v1/tokens.verify", path);
    const headers = { "idempotency-key": "one" };
    await ask("/v1/repositories.upsert", { body: { name: "one" }, headers });
    assert.equal((await ask("/v1/repositories.upsert", { body: { name: "two" }, headers })).status, 422);
  });

  test("describes the results as they are", async (t) => {
    const { ask, call } = await serveApi(t);
    const document = (await ask("/openapi.json")).body as Documented;
    const check = (operation: string, result: unknown) => {
      const post = document.paths[`/v1/${operation}`]?.post as unknown as {
        responses: { 200: { content: { "application/json": { schema: object } } } };
      };
      const { content } = post.responses[200];
      const text = JSON.stringify(content["application/json"].schema).replaceAll("#/components/schemas/", "#/$defs/");
      const defs = JSON.parse(
        JSON.stringify(document.components.schemas).replaceAll("#/components/schemas/", "#/$defs/"),
      );
      const schema = z.fromJSONSchema({ ...JSON.parse(text), $defs: defs });
      const { error } = schema.safeParse(result);
      assert.equal(error, undefined, `${operation}: ${error?.message}`);
    };
    const checked = async (operation: string, input: object = {}) => {
      const result = await call(operation, input);
      check(operation, result);
      return result;
    };
    const repository = await checked("repositories.upsert", { name: "demo", settings: { any: ["thing"] } });
    const runner = await checked("runners.register", { name: "one" });
    const { session } = await checked("sessions.create", {
      repositoryId: repository.id,
      commitSha: "0".repeat(40),
      commands: [{ argv: ["true"] }],
    });
    const { command, fence } = await checked("commands.claim", { runnerId: runner.id });
    await checked("logs.append", { commandId: command.id, fence, offset: 0, data: "aGVsbG8K" });
    await checked("logs.read", { commandId: command.id });
    await checked("worktrees.reserve", { repositoryId: repository.id, runnerId: runner.id, path: "/srv/one" });
    await checked("commands.finish", { commandId: command.id, fence, outcome: "failed", exitCode: 1, logOffset: 6 });
    await checked("commands.attempts", { commandId: command.id });
    await checked("commands.claim", { runnerId: runner.id });
    for (const list of ["repositories", "runners", "sessions", "worktrees", "accounts", "files"])
      await checked(`${list}.list`);
    await checked("commands.list", { sessionId: session.id });
    await checked("changes.since");
    for (const verb of ["stats", "health", "retention", "fsck"]) await checked(`maintenance.${verb}`);
    const { account } = (await ask("/v1/self")).body;
    await checked("tokens.mint", { accountId: account.id, name: "more", scopes: ["sessions:read"] });
    assert.throws(() => check("sessions.get", { id: 7 }));
  });

  test("is enough for a client in Python", { skip: without("python3") }, async (t) => {
    const { url, admin } = await serveApi(t);
    const script = fileURLToPath(new URL("./client.py", import.meta.url));
    const { stdout } = await run("python3", [script, url, admin]);
    assert.deepEqual(JSON.parse(stdout), {
      log: "hello from python\n",
      state: "completed",
      code: "not_found",
      none: null,
    });
  });

  test("curl calls, follows and sends bytes", { skip: without("curl") }, async (t) => {
    const { url, admin, call } = await serveApi(t);
    const curl = async (...args: string[]): Promise<Answer["body"]> => {
      const { stdout } = await run("curl", [
        "--silent",
        "--show-error",
        "-H",
        `Authorization: Bearer ${admin}`,
        ...args,
      ]);
      return stdout;
    };
    const json = ["-H", "Content-Type: application/json"];
    const repository = JSON.parse(await curl(...json, "-d", '{"name":"demo"}', `${url}/v1/repositories.upsert`));
    const runner = await call("runners.register", { name: "one" });
    await call("sessions.create", {
      repositoryId: repository.id,
      commitSha: "0".repeat(40),
      commands: [{ argv: ["true"] }],
    });
    const { command, fence } = await call("commands.claim", { runnerId: runner.id });
    const query = `commandId=${command.id}&fence=${fence}&offset=0`;
    const bytes = ["-H", "Content-Type: application/octet-stream", "--data-binary", "one\ntwo\n"];
    await curl(...bytes, `${url}/v1/logs.append?${query}`);
    await call("commands.finish", { commandId: command.id, fence, outcome: "succeeded", logOffset: 8 });
    assert.match(
      await curl("-H", "Accept: text/event-stream", `${url}/v1/logs.follow?commandId=${command.id}`),
      /event: end\n/,
    );
    const raw = await curl(
      "-H",
      "Accept: application/octet-stream",
      `${url}/v1/logs.read?commandId=${command.id}&line=1`,
    );
    assert.equal(raw, "two\n");
  });
});
