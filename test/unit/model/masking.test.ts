// Secret values are masked, and other values are not.
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { defaultSecretNames, maskArguments, maskingOf, maskUrl } from "../../../src/model/masking.ts";

const masking = maskingOf(defaultSecretNames);

it("isSecret is true for names that may hold a secret, and false for others", () => {
  for (const name of [
    "password",
    "DB_PASSWD",
    "passphrase",
    "clientSecret",
    "API_KEY",
    "apiKey",
    "accessToken",
    "privateKey",
    "Authorization",
    "Set-Cookie",
  ]) {
    assert.ok(masking.isSecret(name), name);
  }
  for (const name of ["user", "key", "path", "n", "total", "pass", "author", ""])
    assert.ok(!masking.isSecret(name), name);
});

it("a star stands for any text, at the ends and between", () => {
  const named = (pattern: string, name: string) => maskingOf([pattern]).isSecret(name);
  for (const [pattern, name, is] of [
    ["abc", "ABC", true],
    ["abc", "abcd", false],
    ["a*", "abc", true],
    ["*c", "abc", true],
    ["a*c", "ac", true],
    ["ab*bc", "abc", false],
    ["*a*b*", "xxbxaxb", true],
    ["*a*b*", "xbxa", false],
    ["*", "", true],
  ] as const) {
    assert.equal(named(pattern, name), is, `${pattern} ${name}`);
  }
});

it("secrets in assignments within a text are masked", () => {
  for (const [text, masked] of [
    ["password=abc", "password=***"],
    ['{"password": "a b\\" c", "n": 1}', '{"password": ***, "n": 1}'],
    ["{ user: 'me', apiKey: 'abc' }", "{ user: 'me', apiKey: *** }"],
    ["Authorization: Bearer abc.def", "Authorization: ***"],
    ['if (token === "abc") return', "if (token === ***) return"],
    ["tool --api-key abc --port 1", "tool --api-key *** --port 1"],
    ["tool --token=abc x", "tool --token=*** x"],
    ["https://me:abc@host/path?user=me", "https://me:***@host/path?user=me"],
    ["https://me:a@bc@host/path", "https://me:***@host/path"],
    ["https://host/?access_token=abc&n=1", "https://host/?access_token=***&n=1"],
    ["config: password=abc", "config: password=***"],
    ['password="abc', "password=***"],
    ["the passwords are wrong: 3 tries", "the passwords are wrong: 3 tries"],
    ["n = 1, total: 5", "n = 1, total: 5"],
  ]) {
    assert.equal(masking.text(text as string), masked);
  }
});

it("secrets in plain data are masked: under secret names, in environments and after options", () => {
  const data = {
    argv: ["node", "--password", "abc", "x"],
    env: { HOME: "/root", A: "abc" },
    environment: ["A=abc", "abc"],
    deep: [{ token: { id: "abc" } }],
    at: 1,
  };
  assert.deepEqual(masking.data(data), {
    argv: ["node", "--password", "***", "x"],
    env: { HOME: "***", A: "***" },
    environment: ["A=***", "***"],
    deep: [{ token: "***" }],
    at: 1,
  });
});

it("masking any text takes little time", () => {
  for (const part of ["a=", '"', "'", "a ", "-", "a:", "\\", "://a:", "--a ", "bearer ", "a", "a."]) {
    // CPU time, because other processes may hold up this one.
    const before = process.cpuUsage();
    masking.text(part.repeat((/^a\.?$/.test(part) ? 131_072 : 8_192) / part.length));
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 2_000_000, part);
  }
  fc.assert(fc.property(fc.string({ maxLength: 200 }), (text) => typeof masking.text(text) === "string"));
});

it("a URL loses what gives access, and keeps the place", () => {
  const cases: Readonly<Record<string, string>> = {
    "https://git.example/a.git": "https://git.example/a.git",
    "https://git.example:8443/@scope/a@1": "https://git.example:8443/@scope/a@1",
    "https://ada:pw@git.example/a.git": "https://ada:***@git.example/a.git",
    "https://:pw@git.example": "https://:***@git.example",
    "HTTPS://ghp_abc@git.example/a.git": "HTTPS://***@git.example/a.git",
    "ssh://git@git.example/a.git": "ssh://git@git.example/a.git",
    "ssh://git:p@w@git.example/a.git": "ssh://git:***@git.example/a.git",
    "https://ada:p/w@git.example/a.git": "https://ada:***@git.example/a.git",
    "https://ada:p@s/w@git.example/a.git": "https://ada:***@git.example/a.git",
    "https://ada:p@s?w@git.example/a.git": "https://ada:***@git.example/a.git",
    "https://ada@mail.example:pw@git.example/a.git": "https://ada@mail.example:***@git.example/a.git",
    "https://ada@mail.example:p/w@git.example/a.git": "https://ada@mail.example:***@git.example/a.git",
    "https://ghp_abc@git.example:8443/@scope/a@1": "https://***@git.example:8443/@scope/a@1",
    "ssh://git@[::1]:22/a@b": "ssh://git@[::1]:22/a@b",
    "https://ada:p?w#x@git.example/a.git": "https://ada:***@git.example/a.git",
    "https://[::1]:80/a@b": "https://[::1]:80/a@b",
    "https://b.example/k?X-Amz-Signature=abc": "https://b.example/k?***",
    "https://b.example/k#token": "https://b.example/k#***",
    "git+https://ghp_abc@git.example/a.git": "git+https://***@git.example/a.git",
    " https://ghp_abc@git.example/a.git?sig=abc": " https://***@git.example/a.git?***",
    "s3://bucket/key": "s3://bucket/key",
    "git@git.example:a.git": "git@git.example:a.git",
    "/srv/c#/a.git": "/srv/c#/a.git",
    "/srv/a.git --password=pw": "/srv/a.git --password=***",
    "": "",
  };
  for (const [url, shown] of Object.entries(cases)) assert.equal(maskUrl(url), shown, url);
});

it("arguments lose what gives access, also in a URL within an argument", () => {
  const cases: readonly (readonly [argv: readonly string[], shown: readonly string[]])[] = [
    [
      ["pip", "--index=https://ghp_abc@pypi.example/simple", "-v"],
      ["pip", "--index=https://***@pypi.example/simple", "-v"],
    ],
    [
      ["sh", "-c", "curl 'https://b.example/k?sig=abc&se=2' -o f; git clone https://ghp_abc@git.example/a.git"],
      ["sh", "-c", "curl 'https://b.example/k?***' -o f; git clone https://***@git.example/a.git"],
    ],
    [
      ["curl", "--token", "abc", "HTTPS://ghp_abc@git.example"],
      ["curl", "--token", "***", "HTTPS://***@git.example"],
    ],
    [
      ["make", "all"],
      ["make", "all"],
    ],
  ];
  for (const [argv, shown] of cases) assert.deepEqual(maskArguments(argv), shown);
});
