// Faults that no repetition mends: rights and tables that are missing, a database that was replaced or cannot hold every
// text, and a server that cannot be verified. They are `incompatible`, with the sentence that helps, and reported once.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type OwnedStore, openStore, type StoreEvent } from "../../../src/index.ts";
import { openVisitor } from "../../../src/store.ts";
import { migratedDatabase } from "../../support/migrated.ts";
import { ask, dropDatabase, newDatabase, ownServer, postgresUrl } from "../../support/postgres.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "../../system/faults/until.ts";

const limits = { connections: 2, probeEveryMs: 20, reapEveryMs: 20 };

interface Rig {
  readonly url: string;
  /** The database as a user who is neither its owner nor a superuser. */
  readonly limitedUrl: string;
  readonly role: string;
}

async function rig(t: TestContext): Promise<Rig> {
  const url = await migratedDatabase();
  const role = `limited_${new URL(url).pathname.slice(1)}`;
  await ask(url, `CREATE ROLE ${role} LOGIN PASSWORD 'secret'`);
  t.after(async () => {
    await dropDatabase(url);
    await ask(await postgresUrl(), `DROP ROLE ${role}`);
  });
  const limited = new URL(url);
  [limited.username, limited.password] = [role, "secret"];
  return { url, role, limitedUrl: limited.href };
}

/** Opens a store, and collects the faults that it reports. */
async function opened(t: TestContext, url: string): Promise<{ store: OwnedStore; faults: string[] }> {
  const faults: string[] = [];
  const onEvent = (event: StoreEvent): void => void (event.type === "fault" && faults.push(event.message));
  const store = await openStore({ url, limits, onEvent });
  t.after(() => store.close());
  return { store, faults };
}

const isReady = async (store: OwnedStore) => (await store.maintenance.health()).ready;

test("a right that is taken away makes its calls incompatible and the store not ready, and is reported once", async (t) => {
  const { url, limitedUrl, role } = await rig(t);
  await ask(url, `GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role}`);
  const { store, faults } = await opened(t, limitedUrl);
  await store.repositories.upsert({ name: "before" });
  await ask(url, `REVOKE INSERT ON accounts FROM ${role}`);
  const create = () => store.accounts.create({ name: "a", kind: "agent" });
  const refused = {
    code: "incompatible",
    outcome: "rolled_back",
    message:
      /the user lacks a privilege: GRANT SELECT, INSERT, UPDATE and DELETE .*permission denied for table accounts/,
  };
  for (let n = 0; n < 3; n++) await assert.rejects(create(), refused);
  assert.equal(await isReady(store), false);
  // Writes of other tables are stored, as are probes, and show nothing about this one.
  for (let n = 0; n < 3; n++) await store.repositories.upsert({ name: `stored ${n}` });
  assert.equal(await isReady(store), false);
  assert.equal(faults.length, 1);
  await assert.rejects(openStore({ url: limitedUrl }), {
    code: "incompatible",
    message: /GRANT SELECT, INSERT, UPDATE, DELETE ON accounts$/,
  });
  await ask(url, `GRANT INSERT ON accounts TO ${role}`);
  await until(() => isReady(store));
  await create();
});

test("a user who may only read uses the operations that read", async (t) => {
  const { url, limitedUrl, role } = await rig(t);
  const store = await openStore({ url, limits });
  await store.repositories.upsert({ name: "a" });
  await store.close();
  const visit = () => openVisitor({ url: limitedUrl, migrate: "never" });
  await ask(url, `GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${role}; REVOKE SELECT ON sessions FROM ${role}`);
  await assert.rejects(visit(), { code: "incompatible", message: /lacks a privilege: GRANT SELECT ON sessions$/ });
  await ask(url, `GRANT SELECT ON sessions TO ${role}`);
  const visitor = await visit();
  t.after(() => visitor.close());
  assert.deepEqual(
    [(await visitor.repositories.list()).items.length, (await visitor.maintenance.stats()).rows.sessions],
    [1, {}],
  );
  await assert.rejects(visitor.repositories.upsert({ name: "b" }), {
    code: "incompatible",
    message: /permission denied/,
  });
  await assert.rejects(openStore({ url: limitedUrl }), {
    code: "incompatible",
    message: /GRANT SELECT, INSERT, UPDATE/,
  });
});

test("a table that was dropped is named, makes the store not ready, and keeps others from opening", async (t) => {
  const { url } = await rig(t);
  const { store, faults } = await opened(t, url);
  await ask(url, "ALTER TABLE sessions RENAME TO elsewhere");
  await until(async () => !(await isReady(store)));
  await assert.rejects(store.sessions.list(), {
    code: "incompatible",
    message: /a table is missing: run .*migrate check/,
  });
  const passes = faults.length;
  assert.ok(passes <= 2, faults.join("\n"));
  await assert.rejects(openStore({ url }), { code: "incompatible", message: /tables are missing: .*\(sessions\)/ });
  await ask(url, "ALTER TABLE elsewhere RENAME TO sessions");
  await until(() => isReady(store));
  assert.deepEqual((await store.sessions.list()).items, []);
});

test("a database that was replaced by another store is not used, and its own is used again", async (t) => {
  const { url } = await rig(t);
  const { store, faults } = await opened(t, url);
  await store.repositories.upsert({ name: "before" });
  const name = new URL(url).pathname.slice(1);
  const admin = await postgresUrl();
  const rename = async (from: string, to: string) => {
    await ask(admin, `ALTER DATABASE ${from} ALLOW_CONNECTIONS false`);
    await ask(admin, "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = $1", [from]);
    await ask(admin, `ALTER DATABASE ${from} RENAME TO ${to}`);
    await ask(admin, `ALTER DATABASE ${to} ALLOW_CONNECTIONS true`);
  };
  await rename(name, `${name}_own`);
  const other = new URL(await newDatabase()).pathname.slice(1);
  await (await openStore({ url: url.replace(name, other) })).close();
  await rename(other, name);
  const codeOf = () =>
    store.repositories.upsert({ name: "after" }).then(
      () => "stored",
      ({ code, details }) => `${code} ${details.reason}`,
    );
  await until(async () => (await codeOf()) === "incompatible other_store");
  await assert.rejects(store.repositories.list(), {
    code: "incompatible",
    message: /was replaced .* restart the process/,
  });
  await assert.rejects(store.maintenance.health(), { code: "incompatible" });
  assert.deepEqual(await ask(url, "SELECT 1 FROM repositories"), []);
  assert.equal(new Set(faults).size, faults.length);
  await rename(name, other);
  await rename(`${name}_own`, name);
  await until(async () => (await codeOf()) === "stored");
  await dropDatabase(url.replace(name, other));
});

test("a database whose encoding lacks characters is refused, and one without encoding is not", async (t) => {
  for (const encoding of ["LATIN1", "SQL_ASCII"]) {
    const name = `${new URL(await newDatabase()).pathname.slice(1)}_${encoding.toLowerCase()}`;
    const admin = await postgresUrl();
    await ask(admin, `CREATE DATABASE ${name} TEMPLATE template0 ENCODING '${encoding}' LC_COLLATE 'C' LC_CTYPE 'C'`);
    const url = new URL(admin);
    url.pathname = `/${name}`;
    t.after(() => dropDatabase(url.href));
    const opening = openStore({ url: url.href });
    if (encoding === "LATIN1") {
      const message = /encoded in LATIN1, .*createdb --encoding=UTF8 --template=template0/;
      await assert.rejects(opening, { code: "incompatible", message });
    } else {
      const store = await opening;
      assert.equal((await store.repositories.upsert({ name: "ą✅" })).name, "ą✅");
      await store.close();
    }
  }
});

test("a server that cannot be verified, and files of the URL that cannot be read, are refused at once", async (t) => {
  const folder = temporaryFolder();
  const [key, cert] = [join(folder, "server.key"), join(folder, "server.crt")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  try {
    execFileSync(
      "openssl",
      ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, ...subject],
      {
        stdio: "ignore",
      },
    );
  } catch {
    return t.skip("there is no openssl, which makes the certificate of the server");
  }
  const server = await ownServer();
  t.after(() => server.remove());
  // The server writes its files itself, so that their owner is right.
  for (const [name, path] of Object.entries({ key, cert }))
    await ask(
      server.url,
      `COPY (SELECT unnest(string_to_array(convert_from('\\x${readFileSync(path).toString("hex")}'::bytea, 'UTF8'), E'\\n')))
       TO PROGRAM 'umask 077; cat > server.${name === "key" ? "key" : "crt"}'`,
    );
  const url = await newDatabase(server);
  const refusal = async (parameters: string, host = "127.0.0.1") => {
    const named = new URL(`${url}?${parameters}`);
    named.hostname = host;
    try {
      await (await openStore({ url: named.href })).close();
    } catch (error) {
      const { code, message } = error as { code: string; message: string };
      return `${code}: ${message}`;
    }
    return "opened";
  };
  chmodSync(cert, 0o644);
  assert.match(await refusal("sslmode=require"), /^incompatible: .*does not encrypt connections/);
  await ask(server.url, "ALTER SYSTEM SET ssl = on");
  await ask(server.url, "SELECT pg_reload_conf()");
  await until(async () => (await refusal("sslmode=no-verify")) === "opened");
  assert.match(await refusal("sslmode=verify-full"), /^incompatible: .*cannot be verified.*sslrootcert/);
  assert.match(
    await refusal(`sslmode=verify-full&sslrootcert=${cert}`),
    /^incompatible: .*the host as the certificate does/,
  );
  assert.equal(await refusal(`sslmode=verify-full&sslrootcert=${cert}`, "localhost"), "opened");
  assert.match(
    await refusal(`sslmode=verify-full&sslrootcert=${folder}/absent`),
    /^incompatible: .*a file of sslcert, sslkey or sslrootcert cannot be read/,
  );
});
