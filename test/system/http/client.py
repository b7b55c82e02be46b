# Drives the API from its OpenAPI document, with the standard library alone: python3 client.py BASE_URL TOKEN
import base64
import json
import sys
import urllib.request

base, token = sys.argv[1:]
with urllib.request.urlopen(base + "/openapi.json") as answer:
    document = json.load(answer)


def send(path, body, method="POST", accept="application/json"):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer " + token, "Accept": accept}
    if data is not None:
        headers["Content-Type"] = "application/json"
    return urllib.request.urlopen(urllib.request.Request(base + path, data, headers, method=method))


class Entity:
    pass


class Client:
    """One method for each operation of the document: client.sessions.create(...)."""

    def __init__(self):
        for path, methods in document["paths"].items():
            entity, _, verb = path.removeprefix("/v1/").partition(".")
            if verb == "" or "post" not in methods:
                continue
            if "application/json" not in methods["post"]["requestBody"]["content"]:
                continue
            if not hasattr(self, entity):
                setattr(self, entity, Entity())
            setattr(getattr(self, entity), verb, self.method(path, methods["post"]))

    def method(self, path, operation):
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        content = operation["responses"]["200"]["content"]

        def call(**fields):
            missing = set(schema.get("required", [])) - set(fields)
            unknown = set(fields) - set(schema["properties"])
            assert not missing and not unknown, (path, missing, unknown)
            if "application/json" in content:
                with send(path, fields) as answer:
                    return json.load(answer)
            return self.lines(path, fields)

        return call

    def lines(self, path, fields):
        with send(path, fields, accept="application/x-ndjson") as answer:
            for line in answer:
                entry = json.loads(line)
                if "end" in entry:
                    return
                assert "error" not in entry, entry
                yield entry["item"]
        raise EOFError("the stream was cut off")


client = Client()
repository = client.repositories.upsert(name="from python")
runner = client.runners.register(name="python")
made = client.sessions.create(
    repositoryId=repository["id"], commitSha="0" * 40, autoComplete=True, commands=[{"argv": ["true"]}]
)
claim = client.commands.claim(runnerId=runner["id"])
command, fence = claim["command"]["id"], claim["fence"]
client.logs.append(commandId=command, fence=fence, offset=0, data=base64.b64encode(b"hello from python\n").decode())
client.commands.finish(commandId=command, fence=fence, outcome="succeeded", exitCode=0, logOffset=18)
log = b"".join(base64.b64decode(chunk["data"]) for chunk in client.logs.follow(commandId=command))
session = client.sessions.wait(sessionId=made["session"]["id"])
try:
    client.sessions.get(sessionId="01900000-0000-7000-8000-000000000000")
    problem = None
except urllib.error.HTTPError as error:
    problem = json.load(error)
print(json.dumps({"log": log.decode(), "state": session["state"], "code": problem["code"], "none": client.commands.claim(runnerId=runner["id"])}))
