"""Whether a query fits the OpenAPI page as it was sent.

Schemathesis may put something wrong into a list that no address can carry, such as an empty object: what is sent is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema_rs


def fits(url: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether each parameter of the address is one of the operation's, and one of its values fits it."""
    known = {each["name"]: each["schema"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    sent = parse_qs(urlsplit(url).query, keep_blank_values=True)
    needed = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query" and each.get("required")}
    return needed <= set(sent) <= set(known) and all(
        any(_is_valid(value, known[name], document) for value in _readings(texts)) for name, texts in sent.items()
    )


def _readings(texts: list[str]) -> Iterator[Any]:
    """What the texts of one parameter can be."""
    yield texts
    if len(texts) == 1:
        yield texts[0]
        if texts[0].isdecimal():
            yield int(texts[0])
        if texts[0] in ("true", "false"):
            yield texts[0] == "true"


def _is_valid(value: Any, schema: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    return jsonschema_rs.is_valid({**schema, "components": document.get("components", {})}, value)
