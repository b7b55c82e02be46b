// Renders the API over HTTP as an OpenAPI document, from the schemas of the operations and from their docstrings.
import { z } from "zod";
import { bodyErrors, callErrors, type ErrorCode, errorCodes } from "../src/errors.ts";
import { fieldScopes, methodsOf, metricsScope, type OperationName, operationScopes } from "../src/http/access.ts";
import { type RequestFault, requestFaults, statusOf } from "../src/http/problems.ts";
import { type AnyCodec, absent, type JsonSchema } from "../src/model/codec.ts";
import { operations } from "../src/operations/table.ts";
import { packageVersion } from "../src/package.ts";
import { present } from "../src/present.ts";
import { type DocumentedOperation, documentedOperations, rows } from "./operations.ts";

const refOf = (codec: AnyCodec): JsonSchema | undefined => {
  const name = rows.get(codec);
  return name === undefined ? undefined : { $ref: `#/components/schemas/${name}` };
};

/** The items of the streams. */
const items: Partial<Record<OperationName, string>> = {
  "logs.follow": "Chunk",
  "logs.followSession": "SessionLogItem",
  "changes.watch": "ChangeRow",
  "changes.export": "ChangeRow",
  "debug.follow": "DebugEvent",
};

/** Renders the document: https://spec.openapis.org/oas/v3.1.0 */
export function renderOpenApi(): string {
  const all = documentedOperations().filter(({ name }) => operationScopes[name as OperationName] !== null);
  const paths = Object.fromEntries(all.map((one) => [`/v1/${one.name}`, pathOf(one)]));
  const document = {
    openapi: "3.1.0",
    info: {
      title: "debug-server-db",
      version: packageVersion,
      description:
        "The operations of a store. Times are ISO 8601 text, bytes are base64, and a result that is undefined is null.",
      license: { name: "MIT", identifier: "MIT" },
    },
    // Relative to the place of this document, wherever the handler is mounted.
    servers: [{ url: "." }],
    security: [{ token: [] }],
    tags: [...new Set(all.map(({ entity }) => entity))].map((name) => ({ name })),
    paths: {
      ...paths,
      "/v1/artifacts.content": contentPath,
      "/v1/self": { get: selfPath },
      "/v1/atomically": { post: atomicallyPath },
      "/metrics": { get: metricsPath },
      ...Object.fromEntries(["/livez", "/readyz"].map((path) => [path, { get: healthPath(path) }])),
    },
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer", description: "A token of the store." } },
      parameters,
      responses: { Problem: { description: "A failure.", content: problemContent }, ...failureResponses() },
      schemas: {
        ...Object.fromEntries([...rows].map(([codec, name]) => [name, rowSchema(codec)])),
        ...Object.fromEntries(recursive),
        Problem: problemSchema,
      },
    },
  };
  return `${JSON.stringify(document, undefined, 1)}\n`;
}

function rowSchema(codec: AnyCodec): JsonSchema {
  return codec.schema((other) => (other === codec ? undefined : refOf(other)));
}

function pathOf({ name, entity, docstring, operation }: DocumentedOperation) {
  const input = inputSchema(name, operation.inputSchema);
  const isStream = operation.stream !== undefined;
  const isRead = operation.access === "read";
  const description = ["Input", "Result", "Effect"].flatMap((head) => {
    const text = docstring.parts.get(head);
    return text === undefined ? [] : [`${head}: ${text}`];
  });
  const common = {
    tags: [entity],
    summary: docstring.summary,
    ...(description.length === 0 ? {} : { description: description.join("\n\n") }),
    "x-scope": operationScopes[name as OperationName],
    ...present({ "x-field-scopes": fieldScopes[name as OperationName] }),
    "x-errors": operation.errors,
    responses: {
      200: {
        description: "The result.",
        headers: { ...answerHeaders, ...(name === "logs.read" ? rawLogHeaders : {}) },
        content: resultContent(name as OperationName, operation.output),
      },
      ...failuresOf(isRead ? operation.errors : [...operation.errors, "idempotency_mismatch"], [
        ...everyFault,
        ...bodyFaults,
        ...(isStream ? (["not_acceptable"] as const) : []),
      ]),
    },
  };
  const general = ["RequestId", "Traceparent", ...(isStream ? ["LastEventId"] : [])];
  const properties = input.properties as Readonly<Record<string, JsonSchema>>;
  const isRequired = (field: string) => (input.required as readonly string[] | undefined)?.includes(field) === true;
  const query = Object.entries(properties)
    .filter(([, schema]) => ["string", "integer", "number", "boolean"].includes(String(schema.type)))
    .map(([field, schema]) => ({ name: field, in: "query", required: isRequired(field), schema }));
  const takesBytes = operation.keys.includes("data");
  // Where the body is JSON, it has these fields.
  const beside = query.map((field) => ({
    ...field,
    required: false,
    description: "With a body of application/octet-stream; otherwise it is in the body.",
  }));
  const post = {
    ...common,
    operationId: name,
    parameters: [
      ...[...general, ...(isRead ? [] : ["IdempotencyKey"])].map(parameterRef),
      ...(takesBytes ? beside : []),
    ],
    requestBody: {
      required: (input.required as readonly string[] | undefined)?.length !== undefined,
      content: {
        "application/json": { schema: input },
        ...(takesBytes ? { "application/octet-stream": { schema: {} } } : {}),
      },
    },
  };
  const get = { ...common, operationId: `get.${name}`, parameters: [...general.map(parameterRef), ...query] };
  return methodsOf(operation).includes("GET") ? { post, get } : { post };
}

/** The parts of inputs that contain themselves, by name. */
const recursive = new Map<string, JsonSchema>();

/** Returns the schema of an input. Ids and other defaults that are made for each call are left out. */
function inputSchema(operation: string, schema: z.ZodType): JsonSchema {
  const {
    $schema: _,
    $defs = {},
    ...input
  } = z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
    override({ zodSchema, jsonSchema, path }) {
      delete (jsonSchema as { maxJsonBytes?: number }).maxJsonBytes;
      if (jsonSchema.description === "id") delete jsonSchema.default;
      if (zodSchema._zod.def.type !== "custom") return;
      const isTime = ["since", "until"].includes(String(path.at(-1)));
      Object.assign(jsonSchema, {
        type: "string",
        ...(isTime ? { format: "date-time" } : { contentEncoding: "base64" }),
      });
    },
  });
  // Parts that contain themselves, such as the variables of a debugger.
  const nameOf = (part: string) => `${operation}.${part.replaceAll("_", "")}`;
  const placed = (part: unknown) =>
    JSON.parse(
      JSON.stringify(part).replaceAll(/"#\/\$defs\/(\w+)"/g, (_all, name) => `"#/components/schemas/${nameOf(name)}"`),
    ) as JsonSchema;
  for (const [part, value] of Object.entries($defs)) recursive.set(nameOf(part), placed(value));
  return placed(input);
}

function resultContent(name: OperationName, output: AnyCodec) {
  const item = items[name];
  if (item !== undefined) {
    const schema = { $ref: `#/components/schemas/${item}` };
    const line = {
      type: "object",
      properties: { item: schema, error: { $ref: "#/components/schemas/Problem" }, end: { type: "object" } },
    };
    return {
      "application/x-ndjson": { schema: line },
      "text/event-stream": { schema: { ...schema, description: "The data of each event named `item`." } },
      ...(name.startsWith("logs.") ? rawContent : {}),
    };
  }
  const content = { "application/json": { schema: resultSchema(name, output) } };
  return name === "logs.read" ? { ...content, ...rawContent } : content;
}

/** The bytes of a log as they are. */
const rawContent = { "text/plain": { schema: { type: "string" } }, "application/octet-stream": { schema: {} } };

function resultSchema(name: OperationName, output: AnyCodec): JsonSchema {
  const schema = refOf(output) ?? output.schema(refOf);
  // The text of a new token, which is returned only once.
  if (name === "tokens.mint" || name === "tokens.rotate")
    return { ...schema, properties: { ...(schema.properties as object), secret: { type: "string" } } };
  return absent in schema ? { anyOf: [schema, { type: "null" }] } : schema;
}

const accessErrors: readonly ErrorCode[] = [
  "token_malformed",
  "token_unknown",
  "token_expired",
  "token_revoked",
  "scope_missing",
];
const everyError: readonly ErrorCode[] = [...bodyErrors, ...callErrors, ...accessErrors];

/** Refers to the failures of an operation by their statuses. */
function failuresOf(errors: readonly ErrorCode[], faults: readonly RequestFault[]) {
  const statuses = new Set([
    ...[...errors, ...everyError].map((code) => statusOf[code]),
    ...faults.map((fault) => requestFaults[fault].status),
  ]);
  return {
    ...Object.fromEntries(
      [...statuses]
        .toSorted((one, other) => one - other)
        .map((status) => [status, { $ref: `#/components/responses/Status${status}` }]),
    ),
    ...otherFailures,
  };
}

/** The faults that a request of every path may have, and those of one with a body. */
const everyFault: readonly RequestFault[] = ["unauthenticated", "method_not_allowed", "too_many_wrong_tokens"];
const bodyFaults: readonly RequestFault[] = ["body_too_large", "unsupported_media_type"];

/** The failures of proxies and of later versions. */
const otherFailures = { default: { $ref: "#/components/responses/Problem" } };

/** Describes the codes of each status, those of the store and those of requests. */
function failureResponses() {
  const all = [
    ...(Object.keys(errorCodes) as ErrorCode[]).map((code) => ({
      code,
      status: statusOf[code],
      means: errorCodes[code].means,
    })),
    ...Object.entries(requestFaults).map(([code, fault]) => ({ code, ...fault })),
  ];
  return Object.fromEntries(
    [...Map.groupBy(all, ({ status }) => status)].map(([status, codes]) => [
      `Status${status}`,
      {
        description: codes.map(({ code, means }) => `\`${code}\`: ${means}.`).join("\n\n"),
        headers: failureHeaders[status] ?? {},
        content: problemContent,
      },
    ]),
  );
}

const text = { schema: { type: "string" } };
const retryAfter = { "Retry-After": { description: "The seconds to wait.", schema: { type: "integer" } } };

/** The headers of failures that have some. */
const failureHeaders: Readonly<Record<number, object>> = {
  401: { "WWW-Authenticate": text },
  403: { "WWW-Authenticate": text },
  405: { Allow: text },
  416: { "Content-Range": text },
  429: retryAfter,
  503: retryAfter,
};

const problemContent = { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } };

const problemSchema = {
  type: "object",
  description: "A failure, by RFC 9457.",
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    code: { type: "string", enum: [...Object.keys(errorCodes), ...Object.keys(requestFaults)] },
    outcome: { type: "string", enum: ["not_run", "rolled_back", "unknown"] },
    retryable: { type: "boolean" },
    operation: { type: "string" },
    details: { type: "object" },
    requestId: { type: "string" },
  },
  required: ["type", "title", "status", "detail", "code", "outcome", "retryable", "details"],
};

/** The headers of a page of a log as its bytes. */
const rawLogHeaders = {
  "X-Attempt": { description: "The attempt whose log it is.", schema: { type: "integer" } },
  "X-Next-Offset": { description: "The offset to go on from.", schema: { type: "integer" } },
  "X-Dropped-Bytes": { description: "The bytes before it that were cut out.", schema: { type: "integer" } },
  "X-Log-Ended": { description: "Whether nothing will follow.", schema: { type: "boolean" } },
};

const answerHeaders = { "X-Request-Id": { schema: { type: "string" } } };

const parameters = {
  RequestId: header(
    "X-Request-Id",
    "The id of the request, for audit rows and logs. By default the trace id, or a new one.",
  ),
  Traceparent: header("traceparent", "The trace context of the caller, by W3C."),
  IdempotencyKey: header("Idempotency-Key", "Makes the request safe to repeat: it runs once, and is answered equally."),
  LastEventId: header("Last-Event-ID", "The id of the last event that was received: the stream goes on after it."),
};

function header(name: string, description: string) {
  return { name, in: "header", required: false, description, schema: { type: "string" } };
}

function parameterRef(name: string) {
  return { $ref: `#/components/parameters/${name}` };
}

const principal = {
  type: "object",
  properties: {
    tokenId: { type: "string" },
    kind: { type: "string" },
    scopes: { type: "array", items: { type: "string" } },
    expiresAt: { anyOf: [{ type: "string", format: "date-time" }, { type: "null" }] },
    account: { type: "object" },
  },
};

const artifactAnswer = {
  200: {
    description: "The artifact.",
    content: { "application/json": { schema: { $ref: "#/components/schemas/Artifact" } } },
  },
};

const begin = operations.artifacts.begin;

/** The fields that find an artifact, and those that a new one may have, as parameters of the query. */
const artifactFields = {
  artifactId: { type: "string", description: "The id of the artifact; of one that was announced, if it is sent." },
  ...(inputSchema("artifacts.upload", begin.inputSchema).properties as Readonly<Record<string, JsonSchema>>),
  ttlMs: { type: "integer", minimum: 1_000, description: "The lifetime of the artifact. By default it is unlimited." },
};

function artifactQuery(fields: readonly string[]) {
  return Object.entries(artifactFields)
    .filter(([name]) => fields.includes(name))
    .map(([name, schema]) => ({ name, in: "query", required: false, schema }));
}

const downloadFailures = failuresOf(begin.errors, [...everyFault, "no_such_path", "range_not_satisfiable"]);
const uploadFailures = failuresOf(
  [...begin.errors, ...operations.artifacts.commit.errors],
  [...everyFault, ...bodyFaults],
);
const contentHeaders = Object.fromEntries(
  ["Content-Disposition", "Content-Range", "ETag"].map((name) => [name, { schema: { type: "string" } }]),
);
const anyBytes = { "*/*": { schema: {} } };
const artifactDownload = {
  summary: "Returns the bytes of an artifact whose file this server has, as a whole or in part.",
  description: "Input: artifactId, or sessionId and name for the newest ready artifact of this name.",
  "x-scope": operationScopes["artifacts.get"],
  parameters: [
    ...artifactQuery(["artifactId", "sessionId", "commandId", "attempt", "name"]),
    header("Range", "A part of the file, such as bytes=0-99."),
  ],
};

const contentPath = {
  get: {
    operationId: "artifacts.content",
    ...artifactDownload,
    responses: {
      200: { description: "The bytes.", headers: contentHeaders, content: anyBytes },
      206: { description: "The part that Range names.", headers: contentHeaders, content: anyBytes },
      ...downloadFailures,
    },
  },
  head: {
    operationId: "head.artifacts.content",
    ...artifactDownload,
    responses: { 200: { description: "The headers alone.", headers: contentHeaders }, ...downloadFailures },
  },
  post: {
    operationId: "artifacts.upload",
    summary: "Stores the body as the file of an artifact.",
    description:
      "Input: sessionId and name for a new artifact, or artifactId for one that was announced.\n\nResult: the artifact, ready. The same name and content again return the same one; other content fails with conflict unless replace is true.",
    "x-scope": operationScopes["artifacts.begin"],
    parameters: artifactQuery(["artifactId", ...begin.keys.filter((key) => key !== "metadata")]),
    requestBody: { required: true, content: anyBytes },
    responses: { ...artifactAnswer, ...uploadFailures },
  },
};

const selfPath = {
  operationId: "self",
  summary: "Returns what the token of the request stands for.",
  responses: {
    200: { description: "The account and the scopes.", content: { "application/json": { schema: principal } } },
    ...failuresOf([], everyFault),
  },
};

const atomicallyPath = {
  operationId: "atomically",
  summary: "Runs several calls in one transaction, all or nothing, and returns their results in order.",
  parameters: ["RequestId", "Traceparent", "IdempotencyKey"].map(parameterRef),
  requestBody: {
    required: true,
    content: {
      "application/json": {
        schema: {
          type: "object",
          properties: {
            calls: {
              type: "array",
              items: {
                type: "object",
                properties: { operation: { type: "string" }, input: { type: "object" } },
                required: ["operation"],
              },
            },
          },
          required: ["calls"],
        },
      },
    },
  },
  responses: {
    200: { description: "The results.", content: { "application/json": { schema: { type: "array" } } } },
    ...failuresOf(["idempotency_mismatch", "not_found", "conflict"], [...everyFault, ...bodyFaults]),
  },
};

const metricsPath = {
  operationId: "metrics",
  summary: "Returns metrics of the store and of its API for Prometheus.",
  "x-scope": metricsScope,
  responses: {
    200: {
      description: "The metrics.",
      content: {
        "text/plain": { schema: { type: "string" } },
        "application/openmetrics-text": { schema: { type: "string" } },
      },
    },
    default: { $ref: "#/components/responses/Problem" },
  },
};

function healthPath(path: string) {
  return {
    operationId: path.slice(1),
    summary:
      path === "/livez" ? "Fails when a restart of the server may help." : "Fails while the server cannot take work.",
    security: [],
    responses: { 200: { description: "ok" }, 503: { description: "not ok" } },
  };
}
