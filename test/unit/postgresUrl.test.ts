// The URIs of PostgreSQL: what its own programs take is read in the same way, and written so that it is read again as it was.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type PostgresAddress, readPostgresUrl, writePostgresUrl } from "../../src/postgresUrl.ts";

const empty: PostgresAddress = {
  user: "",
  password: "",
  hosts: [{ host: "", port: "" }],
  database: "",
  parameters: [],
};

suite("postgres URIs", () => {
  const forms: readonly (readonly [url: string, parts: Partial<PostgresAddress>])[] = [
    ["postgres://", {}],
    ["postgresql://h", { hosts: [{ host: "h", port: "" }] }],
    ["postgres://h:5433/db", { hosts: [{ host: "h", port: "5433" }], database: "db" }],
    ["postgres://u@h", { user: "u", hosts: [{ host: "h", port: "" }] }],
    ["postgres://u:p:q@/db", { user: "u", password: "p:q", database: "db" }],
    ["postgres://u:p@q@h/db", { user: "u", password: "p@q", hosts: [{ host: "h", port: "" }], database: "db" }],
    [
      "postgres://u%40t:%2F%3F%23%25@h/d%20b",
      { user: "u@t", password: "/?#%", hosts: [{ host: "h", port: "" }], database: "d b" },
    ],
    [
      "postgres://h1:1,h2,[::1]:3/db",
      {
        hosts: [
          { host: "h1", port: "1" },
          { host: "h2", port: "" },
          { host: "::1", port: "3" },
        ],
        database: "db",
      },
    ],
    ["postgres://%2Frun%2Fpg/db", { hosts: [{ host: "/run/pg", port: "" }], database: "db" }],
    [
      "postgres://u@/db?host=/run/pg&port=5433",
      { user: "u", hosts: [{ host: "/run/pg", port: "5433" }], database: "db" },
    ],
    [
      "postgres:///db?host=h1,h2&port=1,2",
      {
        hosts: [
          { host: "h1", port: "1" },
          { host: "h2", port: "2" },
        ],
        database: "db",
      },
    ],
    [
      "postgres:///?host=h1,h2&port=1",
      {
        hosts: [
          { host: "h1", port: "1" },
          { host: "h2", port: "1" },
        ],
      },
    ],
    [
      "postgres://?hostaddr=::1&dbname=x&user=a%26b&password=p+q",
      { user: "a&b", password: "p q", hosts: [{ host: "::1", port: "" }], database: "x" },
    ],
    [
      "postgres://h?port=7&sslmode=require&application_name=a%3Db",
      {
        hosts: [{ host: "h", port: "7" }],
        parameters: [
          ["sslmode", "require"],
          ["application_name", "a=b"],
        ],
      },
    ],
  ];
  for (const [url, parts] of forms)
    test(`${url} is read, and written so that it is read again`, () => {
      const address = readPostgresUrl(url);
      assert.deepEqual(address, { ...empty, ...parts });
      assert.deepEqual(readPostgresUrl(writePostgresUrl(address)), address);
    });

  for (const url of [
    "mysql://h",
    "postgres:h",
    "postgres://h:x/db",
    "postgres://u:%@h",
    "postgres://h/%zz",
    "postgres://h/db#x",
  ])
    test(`${url} is refused`, () => assert.equal(readPostgresUrl(url), undefined));
});
