"""Request bodies: read with a cap while they come, as strict JSON, checked by a model."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import falcon
from pydantic import BaseModel, ValidationError

from sojourn.control_plane.api.problems import Problem

M = TypeVar("M", bound=BaseModel)
_CHUNK = 1 << 16
#: Levels of nesting that are taken.
_MAX_DEPTH = 200
#: Types that are certainly not JSON; anything else is read as JSON whatever it calls itself.
_NOT_JSON = ("application/xml", "text/xml", "multipart/", "application/x-www-form-urlencoded", "image/", "video/")


def read(request: falcon.Request, most: int) -> bytes:
    """The body, at most `most` bytes of it; whoever sends more is cut off while sending."""
    if request.get_header("Content-Encoding", default="identity").lower() != "identity":
        raise Problem("UNSUPPORTED_MEDIA_TYPE", "compressed bodies are not accepted")
    kind = (request.content_type or "").lower()
    if kind.startswith(_NOT_JSON):
        raise Problem("UNSUPPORTED_MEDIA_TYPE", f"{kind.split(';')[0]} is not accepted here: send application/json")
    length = request.content_length
    if length is not None and length > most:
        raise Problem("BODY_TOO_LARGE", f"the body has {length} bytes; this path takes {most}")
    stream = request.bounded_stream if length is not None else request.stream
    chunks, total = [], 0
    while chunk := stream.read(min(_CHUNK, most + 1 - total)):
        chunks.append(chunk)
        total += len(chunk)
        if total > most:
            raise Problem("BODY_TOO_LARGE", f"the body has more than {most} bytes")
    return b"".join(chunks)


def parse(data: bytes) -> Any:
    """JSON, strictly: UTF-8, no duplicate keys, no NaN, no number that Python will not read, no bottomless nesting."""
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise Problem("INVALID_JSON", "the body begins with a byte order mark: send plain UTF-8")
    try:
        text = data.decode("utf-8")
        if text.count("[") + text.count("{") > _MAX_DEPTH and _depth(text) > _MAX_DEPTH:
            raise Problem("INVALID_JSON", f"the body is nested more than {_MAX_DEPTH} levels deep")
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Problem("INVALID_JSON", "the body is not UTF-8") from None
    except RecursionError:
        raise Problem("INVALID_JSON", "the body is nested too deeply") from None
    except ValueError as error:
        raise Problem("INVALID_JSON", f"the body is not JSON: {str(error)[:200]}") from None


def take(request: falcon.Request, model: type[M], most: int, *, optional: bool = False) -> M:
    """The body as a model. `optional`: an empty one counts as {}."""
    data = read(request, most)
    if not data.strip() and optional:
        data = b"{}"
    given = parse(data)
    if not isinstance(given, dict):
        raise Problem("INVALID_BODY", "the body must be a JSON object")
    return check(given, model)


def check(given: dict[str, Any], model: type[M]) -> M:
    """What was given, as a model; the first wrong field is named."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        field = ".".join(str(part) for part in found[0]["loc"])
        details = [{"path": [str(part) for part in e["loc"]], "message": e["msg"]} for e in found[:20]]
        raise Problem("INVALID_BODY", f"{field}: {found[0]['msg']}", field=field, details=details) from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _depth(text: str) -> int:
    """How deep the brackets go, texts left out."""
    depth = deepest = 0
    inside = escaped = False
    for char in text:
        if inside:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
        elif char == '"':
            inside = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest
