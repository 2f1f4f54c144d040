"""Writes docs/wire.md out of the API's route table: `python tools/wire_page.py`; with `--check` it only compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sojourn.control_plane.api import openapi
from sojourn.control_plane.api.problems import CODES
from sojourn.control_plane.api.routes import ROUTES, Route

PAGE = Path(__file__).resolve().parents[1] / "docs" / "wire.md"

HEAD = """# The wire

<!-- Written by tools/wire_page.py from control_plane/api/routes/: change the table, then run it. -->

The API speaks JSON in UTF-8 over HTTP. `/api/openapi.json` says the same for programs; `/reference`
has every field, for people. One whole exchange, with `examples` deployed (`sojourn deploy examples`):

```shell
API=$SOJOURN_API_URL                              # "sojourn status" prints both
KEY="Authorization: Bearer $SOJOURN_SECRET_KEY"
BODY='{"payload": {"name": "Ada"}, "options": {"tags": ["greeting"]}}'

curl -sS "$API/api/v1/tasks/hello/trigger" -H "$KEY" --json "$BODY" > run.json
RUN=$(python3 -c 'import json; print(json.load(open("run.json"))["id"])')
curl -sS "$API/api/v1/runs/$RUN/result?wait=30" -H "$KEY"
curl -sS "$API/api/v3/runs/$RUN" -H "$KEY"
curl -sS "$API/api/v3/runs/run_0" -H "$KEY"
```

answers, in order: the run, how it ended as soon as it has (`output` is a text of the type `outputType`), all of the run
(some fields are left out here), and a refusal, with the status 404:

```json
{"id": "run_01m8fg9xsdbez48h06q358ch6f", "isCached": false}
{"ok": true, "id": "run_01m8fg9xsdbez48h06q358ch6f", "taskIdentifier": "hello", "output": "\\"Good day, Ada\\"",
 "outputType": "application/json", "usage": {"durationMs": 125}}
{"id": "run_01m8fg9xsdbez48h06q358ch6f", "status": "COMPLETED", "taskIdentifier": "hello", "tags": ["greeting"],
 "payload": {"name": "Ada"}, "output": "Good day, Ada"}
{"error": "There is no such run in this environment.", "code": "RUN_NOT_FOUND",
 "nextStep": "check the id and the key's environment"}
```

- **Keys.** `Authorization: Bearer tr_…` holds the secret key of one environment, or in its place a public token that its
  root key signed; everything that either can see or do is in that environment. A key or token with scopes needs the one
  that an address names ([keys.md](keys.md)). Executors hold a credential of their own, which opens `/worker/` and
  nothing else.
- **Limits.** Answers have `x-ratelimit-limit`, `x-ratelimit-remaining` and `x-ratelimit-reset` (ms since the epoch).
- **Refusals** are `{"error": text, "code": CODE, "field"?, "nextStep"?, "details"?}`; [errors.md](errors.md) lists the
  codes. What belongs to another environment answers exactly as what does not exist.
- **Repeating.** A request that changes something may carry `x-trigger-request-idempotency-key`; sent again with the
  same key to the same address within a day, it counts once: what makes something is answered with that again, a new key
  or a webhook's secret too. `x-should-retry: false` says that sending it again is of no use.
- **Sizes** are bytes of UTF-8 that a value has as compact JSON, whether its letters are escaped or not. A body has room
  for three times its value's limit; the error says which of the two was passed.
- **Words.** With `x-trigger-api-version: 2025-07-16` statuses are `PENDING_VERSION`, `DELAYED`, `QUEUED`, `DEQUEUED`,
  `EXECUTING`, `WAITING`, `COMPLETED`, `FAILED`, `CANCELED`, `CRASHED`, `SYSTEM_FAILURE`, `TIMED_OUT`, `EXPIRED`.
  Without the header `DEQUEUED` reads `EXECUTING` and `WAITING` reads `FROZEN`. Filters take either.
- **Absent** values are left out, never null, but for limits of queues, where null is none. Times are ISO 8601 in UTC;
  durations read `1h30m` (w, d, h, m, s).
- **Pages.** Lists go from newest to oldest; `pagination.next` goes into `page[after]`, `previous` into `page[before]`.
- **Several values** of a filter stand in one parameter, with commas between, or in a parameter each: one that is sent
  more than once is taken whole each time, so that a value may have a comma.
- **Slashes** in the name of a task, a queue or a key are sent as `%2F`. Addresses are UTF-8. A task's id has printable
  characters and no `%2F`, wherever it is written; an idempotency key any characters but NUL.
"""


def page() -> str:
    """The whole page."""
    document = openapi.document()
    parts = [HEAD, "\n## Addresses\n", _table(ROUTES)]
    for route in ROUTES:
        parts.append(_section(route, document))
    return "\n".join(parts).rstrip() + "\n"


def _table(routes: tuple[Route, ...]) -> str:
    rows = [
        f"| [`{route.method} {route.path}`](#{_anchor(route)}) | {route.caller} | {route.summary} |" for route in routes
    ]
    return "\n".join(["| address | who may call | what |", "|---|---|---|", *rows])


def _section(route: Route, document: dict[str, Any]) -> str:
    operation = document["paths"][route.path][route.method.lower()]
    schemas = document["components"]["schemas"]
    lines = [f'\n<a id="{_anchor(route)}"></a>\n', f"## {route.method} {route.path}\n"]
    lines.append(f"{route.summary}. Callers: {route.caller}{', or a public token' if route.takes_tokens else ''}.")
    if route.needs is not None and route.needs.scope:
        lines[-1] += f" Scope: `{route.needs.scope}`."
    query = [parameter for parameter in operation["parameters"] if parameter["in"] == "query"]
    if query:
        lines += ["\n| query | type | |", "|---|---|---|"]
        lines += [f"| `{p['name']}` | {_type(p['schema'])} | {_cell(p['description'])} |" for p in query]
    if route.body:
        lines.append(f"\nBody, at most {_size(route.limit)}: {_doc(route.body)}")
        lines += _fields(route.body.__name__, schemas, set())
    if route.line:
        lines.append(f"\nBody, `{route.takes}`, each line: {_doc(route.line)}")
        lines += _fields(route.line.__name__, schemas, set())
    if route.reply:
        lines.append(f"\nAnswer {' or '.join(map(str, route.statuses))}: {_doc(route.reply)}")
        lines += _fields(route.reply.__name__, schemas, set())
    refusals = sorted(route.all_codes, key=lambda code: (CODES[code].status, code))
    lines.append("\nRefusals: " + ", ".join(f"{CODES[code].status} `{code}`" for code in refusals) + ".")
    return "\n".join(lines)


def _fields(name: str, schemas: dict[str, Any], seen: set[str]) -> list[str]:
    """A table of a model's fields, then the tables of the models in it."""
    seen.add(name)
    schema = schemas[name]
    properties = schema.get("properties", {})
    if not properties:
        return []
    required = set(schema.get("required", ()))
    lines = ["", f"| `{name}` | type | |", "|---|---|---|"]
    for field, inner in properties.items():
        mark, told = ("", inner) if field in required else ("?", _without_null(inner))
        lines.append(f"| `{field}`{mark} | {_type(told)} | {_cell(inner.get('description', ''))} |")
    for inner_name in _references(properties):
        if inner_name not in seen:
            lines += _fields(inner_name, schemas, seen)
    return lines


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """That it is optional says already that it may be null."""
    left = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return (left[0] if len(left) == 1 else {"anyOf": left}) | rest if left else schema


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        found = [value["$ref"].rsplit("/", 1)[1]] if "$ref" in value else []
        return found + [name for inner in value.values() for name in _references(inner)]
    if isinstance(value, list):
        return [name for inner in value for name in _references(inner)]
    return []


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rsplit('/', 1)[1]}`"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(choice) for choice in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kind = {"integer": "whole number", "string": "text", "boolean": "true or false"}.get(schema.get("type", ""), "")
    kind = "date" if schema.get("format") == "date-time" else kind or str(schema.get("type", "any JSON"))
    return kind + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum")
    if isinstance(low, int | float) and isinstance(high, int | float) and abs(high) < 2**62:
        return f", {low:.10g} to {high:.10g}"
    return f", at most {schema['maxLength']} characters" if "maxLength" in schema else ""


def _doc(model: type) -> str:
    return " ".join((model.__doc__ or "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _size(limit: int) -> str:
    return f"{limit / 2**20:g} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"


def _anchor(route: Route) -> str:
    return route.action.replace(".", "-")


def main(arguments: list[str]) -> int:
    """Exit code 1 when `--check` finds the page stale."""
    if "--check" in arguments:
        return 0 if PAGE.read_text(encoding="utf-8") == page() else 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
