// The address of a store: what is dropped around it, what is refused, and what of it is printed. Nothing that was meant
// for one place may lead to another, where a second, empty database would be created.
import assert from "node:assert/strict";
import { homedir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { StoreError } from "../../src/errors.ts";
import { chooseUrl, defaultUrl, expandHome, parsePlace, redactUrl, toolUrl } from "../../src/place.ts";

suite("place", () => {
  const paths: readonly (readonly [url: string, path: string])[] = [
    ["sqlite:x.db", "x.db"],
    ["sqlite:/srv/x.db", "/srv/x.db"],
    ["sqlite:///srv/x.db", "/srv/x.db"],
    ["sqlite:////srv/x.db", "/srv/x.db"],
    ["sqlite::memory:", ":memory:"],
    ["sqlite:a b/x.db?mode=ro", "a b/x.db?mode=ro"],
    ["sqlite:/srv/x.db\r", "/srv/x.db"],
    [" \t\n sqlite:/srv/x.db \r\n", "/srv/x.db"],
    ["\ufeffsqlite:/srv/x.db\u00a0", "/srv/x.db"],
    ["sqlite:/srv/x.db\u200b", "/srv/x.db"],
    ["sqlite:~/x.db", join(homedir(), "x.db")],
    ["sqlite:./~/x.db", "./~/x.db"],
    ["sqlite:~x.db", "~x.db"],
    ["sqlite:./$HOME.db", "./$HOME.db"],
  ];
  for (const [url, path] of paths)
    test(`${JSON.stringify(url)} is a file`, () => {
      assert.deepEqual(parsePlace(url), { engine: "sqlite", path });
      // Parsed again, as the command line does, it is the same file.
      assert.deepEqual(parsePlace(redactUrl(url)), { engine: "sqlite", path });
    });

  const refused: readonly (readonly [url: string, reason: RegExp])[] = [
    ["", /^url: it is empty: expected sqlite:PATH/],
    [" \r\n", /it is empty/],
    ["sqlite:", /names no file/],
    ["sqlite: ", /names no file/],
    ["sqlite://", /names no file/],
    ["sqlite:///", /names no file/],
    ["sqlite://x.db", /write sqlite:PATH for a path from the current folder, or sqlite:\/\/\/PATH/],
    ["sqlite:data/", /ends with a slash, so it names a folder/],
    ["sqlite:~/", /ends with a slash, so it names a folder/],
    ["sqlite: x.db", /a blank follows sqlite:/],
    ["sqlite:a\r\nb.db", /a control character or a line end/],
    ["sqlite:a\u0000b", /a control character/],
    ["sqlite:a\u202eb", /a control character/],
    ['"sqlite:x.db"', /it is in quotation marks/],
    ["'postgres://u:p@h/db'", /it is in quotation marks/],
    ['sqlite:"x.db"', /the path is in quotation marks/],
    ["sqlite:~", /only ~\/ stands for a home directory/],
    ["sqlite:~ada/x.db", /only ~\/ stands for a home directory/],
    ["sqlite:$HOME/x.db", /the name of a variable/],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of a shell
    ["sqlite:${DATA}/x.db", /the name of a variable/],
    ["x.db", /expected sqlite:PATH/],
    ["mysql://h/db", /expected sqlite:PATH/],
    ["postgres://u:S3CRET\n@h/db", /a control character or a line end/],
    ["postgres://u:12/S3CRET@h/db", /write \/ as %2F/],
    ["postgres://u:12#S3CRET@h/db", /write \/ as %2F/],
    ["postgres://u:12?S3CRET@h/db", /write \/ as %2F/],
    ["postgres://u:/S3CRET@h/db", /write \/ as %2F/],
    ["postgres://u:a/S3CRET@h/db", /write \/ as %2F/],
    ["postgres://u:a@b/S3CRET@h/db", /write \/ as %2F/],
    ["postgres://u:12#S3CRET", /write \/ as %2F/],
    ["postgres://u:S3CRET%@h/db", /% as %25/],
    ["postgres://u:a/S3CRET", /write \/ as %2F/],
    ["postgres://h:S3CRET/db", /write \/ as %2F/],
  ];
  for (const [url, reason] of refused)
    test(`${JSON.stringify(url)} is refused with the reason, which does not repeat it`, () => {
      assert.throws(
        () => parsePlace(url),
        (error: StoreError) => {
          assert.ok(error instanceof StoreError);
          assert.equal(error.code, "invalid_input");
          assert.match(error.message, reason);
          assert.doesNotMatch(error.message, /S3CRET/);
          return true;
        },
      );
      assert.throws(() => redactUrl(url), { code: "invalid_input" });
    });

  test("of a PostgreSQL URL, no password and no unknown parameter is printed", () => {
    assert.deepEqual(parsePlace("postgres://u:p@h/db\r\n"), { engine: "postgres", url: "postgres://u:p@h/db" });
    const shown = {
      "postgres://u:S3CRET@h:5433/db": "postgres://u:***@h:5433/db",
      "postgres://h/db?password=S3CRET&sslmode=require": "postgres://:***@h/db?sslmode=require",
      "postgres://h/db?pwd=S3CRET&sslpassword=S3CRET": "postgres://h/db?pwd=***&sslpassword=***",
      "postgres://h/db?pwd=S3CRET&pwd=S3CRET": "postgres://h/db?pwd=***&pwd=***",
      "postgresql:///db?host=/run/pg&user=me@tenant": "postgres://me%40tenant@/db?host=%2Frun%2Fpg",
      "postgres://u:12%2FS3CRET@h/db": "postgres://u:***@h/db",
      "postgres://u:S3@CRET@h/db": "postgres://u:***@h/db",
      "postgres://u:S3CRET@h1:1,[::1]:2,h3/db": "postgres://u:***@h1:1,[::1]:2,h3/db",
      "postgres://u:S3CRET@/db?host=/run/pg": "postgres://u:***@/db?host=%2Frun%2Fpg",
    };
    for (const [url, text] of Object.entries(shown)) {
      assert.doesNotMatch(redactUrl(url), /S3CRET/);
      assert.equal(decodeURIComponent(redactUrl(url)), decodeURIComponent(text));
    }
  });

  test("the programs of PostgreSQL get the server and its settings, without a password", () => {
    const shown = {
      "postgres://u:S3CRET@h:5433/db": "postgres://u@h:5433/db",
      "postgres:///db?host=/var/run/x&port=5433&user=me": "postgres://me@/db?host=%2Fvar%2Frun%2Fx&port=5433",
      "postgres://h/db?sslmode=verify-full&sslrootcert=/etc/a b.pem&password=S3CRET&pwd=S3CRET":
        "postgres://h/db?sslmode=verify-full&sslrootcert=%2Fetc%2Fa%20b.pem",
      "postgres://h/db?sslmode=no-verify&dbname=other": "postgres://h/other?sslmode=require",
      "postgres://u:S3CRET@h1:1,h2/db": "postgres://u@h1:1,h2/db",
      "postgres://u%40t@h/d%20b": "postgres://u%40t@h/d%20b",
      "postgres://h": "postgres://h",
    };
    for (const [url, text] of Object.entries(shown)) assert.equal(toolUrl(url), text);
    assert.equal(
      toolUrl("postgres://h/db?sslmode=require", (name) => `${name}_2`),
      "postgres://h/db_2?sslmode=require",
    );
  });

  test("the option is chosen before the variable, and a blank variable is not set", () => {
    const variable = "DEBUG_SERVER_DB_URL";
    assert.deepEqual(chooseUrl("sqlite:o.db", { [variable]: "sqlite:v.db" }), {
      url: "sqlite:o.db",
      from: "option",
      name: "url",
    });
    // An option that is empty was given, and is refused by parsePlace.
    assert.equal(chooseUrl("", { [variable]: "sqlite:v.db" }).url, "");
    assert.deepEqual(chooseUrl(undefined, { [variable]: "sqlite:v.db" }), {
      url: "sqlite:v.db",
      from: "environment",
      name: variable,
    });
    for (const blank of ["", " ", "\r", "\ufeff\r\n"])
      assert.deepEqual(chooseUrl(undefined, { [variable]: blank }), { url: defaultUrl, from: "default", name: "url" });
    assert.throws(() => parsePlace("x", variable), { message: /^DEBUG_SERVER_DB_URL: expected sqlite:PATH/ });
  });

  test("only a leading ~/ becomes the home directory", () => {
    assert.equal(expandHome("~/a/b"), join(homedir(), "a/b"));
    for (const path of ["a/~/b", "~", "~ada/b", "/~/b"]) assert.equal(expandHome(path), path);
  });
});
