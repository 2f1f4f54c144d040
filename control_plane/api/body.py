"""Request bodies: read once, counted while they arrive, and taken apart by one strict JSON reader."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, Protocol

from sojourn.control_plane.api.problems import Problem

MAX_DEPTH = 128
#: Bytes of a refused body that are still read, so that its sender gets to see the answer.
_DRAINED_AT_MOST = 128 * 1024 * 1024
#: Bytes of a streamed body that are handed on at once: few, so that a slow client's are not waited for too long.
CHUNK = 64 * 1024

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
#: Media types that a JSON body may come with: JSON's own, and what simple clients send when they say nothing.
_ACCEPTED = frozenset({"", "application/json", "text/plain", "text/json", "application/octet-stream"})


class Request(Protocol):
    """What is needed of a request: its WSGI environment."""

    env: Mapping[str, Any]


def read(request: Request, limit: int) -> bytes:
    """The whole body, at most `limit` bytes of it. `Problem` 400, 408, 413 or 415."""
    env = request.env
    _check_headers(env)
    length = _stated_length(env)
    if length is not None:
        if length > limit:
            if length > _DRAINED_AT_MOST:
                _leave_the_rest(env)
            raise _too_large(limit)
        body = _receive(env, length)
        if len(body) < length:
            raise Problem("BODY_INCOMPLETE")
        return body
    if not env.get("wsgi.input_terminated"):
        return b""
    body = _receive(env, limit + 1)
    if len(body) > limit:
        _leave_the_rest(env)
        raise _too_large(limit)
    return body


class Stream:
    """A body that is handed on while it arrives, never whole in memory."""

    def __init__(self, env: Mapping[str, Any]):
        self._env = env

    def chunks(self, limit: int) -> Iterator[bytes]:
        """The body, at most `limit` bytes of it. `Problem` 400, 408 or 413, also half-way."""
        env = self._env
        length = _stated_length(env)
        if length is None and not env.get("wsgi.input_terminated"):
            return
        if length is not None and length > limit:
            self.leave()
            raise _too_large(limit)
        received = 0
        while chunk := self._next(CHUNK if length is None else min(CHUNK, length - received)):
            received += len(chunk)
            if received > limit:
                _leave_the_rest(env)
                raise _too_large(limit)
            yield chunk
        if length is not None and received < length:
            raise Problem("BODY_INCOMPLETE")

    def whole(self, limit: int) -> bytes:
        """All of the body, whose length has to be said. `Problem` 400, 408, 411 or 413."""
        if _stated_length(self._env) is None:
            self.abandon()  # it may have no end
            raise Problem("LENGTH_REQUIRED", field="Content-Length")
        return b"".join(self.chunks(limit))

    def abandon(self) -> None:
        """What is left of it is not read: the connection ends with the answer."""
        _leave_the_rest(self._env)

    def leave(self) -> None:
        """What is left of it is of no use: read and dropped if it is little, so that the sender gets to see the answer."""
        length = self._env.get("CONTENT_LENGTH") or ""
        if not length.isdigit() or int(length[:20]) > _DRAINED_AT_MOST:
            self.abandon()

    def _next(self, most: int) -> bytes:
        return _receive(self._env, most) if most else b""


def parse(raw: bytes) -> Any:
    """The JSON value of a body, strictly: UTF-8, no repeated keys, no NaN or Infinity, not too deep."""
    try:
        value = _STRICT.decode(raw.decode("utf-8"))
    except RecursionError:
        raise Problem("BODY_TOO_DEEP") from None
    except UnicodeDecodeError:
        raise Problem("INVALID_JSON", "The body is not UTF-8.") from None
    except ValueError as error:
        raise Problem("INVALID_JSON", f"The body is not JSON: {_reason(error)}") from None
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _is_too_deep(raw):
        raise Problem("BODY_TOO_DEEP")
    return value


def parse_leniently(raw: bytes) -> Any:
    """The JSON value of an executor's body: user code's NaN becomes null, so that no result is lost over it."""
    try:
        return _LENIENT.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Problem("INVALID_JSON", f"The body is not JSON: {_reason(error)}") from None


def parse_if_json(raw: bytes) -> Any:
    """The JSON value of a body that anybody may have written, whatever its media type; {} for what is none."""
    try:
        value = _PLAIN.decode(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    return {} if _is_too_deep(raw) else value


def _stated_length(env: Mapping[str, Any]) -> int | None:
    stated = env.get("CONTENT_LENGTH")
    if not stated:
        return None
    if not stated.isascii() or not stated.isdigit():
        raise Problem("BAD_REQUEST", "Content-Length is not a number", field="Content-Length")
    return int(stated[:20])


def _too_large(limit: int) -> Problem:
    return Problem("BODY_TOO_LARGE", f"The body has more than {limit} bytes.")


def _leave_the_rest(env: Mapping[str, Any]) -> None:
    """Has gunicorn close the connection after the answer; else it would read on for as long as the client sends."""
    stream = env["wsgi.input"]
    if hasattr(stream, "failed"):
        stream.failed = True


def _check_headers(env: Mapping[str, Any]) -> None:
    media_type = env.get("CONTENT_TYPE") or ""
    if media_type != "application/json":
        kind = media_type.split(";", 1)[0].strip().lower()
        if kind not in _ACCEPTED and not kind.endswith("+json"):
            raise Problem("CONTENT_TYPE_UNSUPPORTED", field="Content-Type")
        charset = re.search(r"charset\s*=\s*\"?([^\";\s]+)", media_type, re.IGNORECASE)
        if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
            raise Problem("CONTENT_TYPE_UNSUPPORTED", "JSON is sent in UTF-8.", field="Content-Type")
    if env.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in ("", "identity"):
        raise Problem("CONTENT_ENCODING_UNSUPPORTED", field="Content-Encoding")


def _receive(env: Mapping[str, Any], most: int) -> bytes:
    """Up to `most` bytes. How long a client may take for them is the server's to say."""
    try:
        body: bytes = env["wsgi.input"].read(most)
    except TimeoutError:
        raise Problem("BODY_TOO_SLOW") from None
    except Exception as error:  # the client is gone, or its chunks are malformed: each server has errors of its own
        raise Problem("BODY_INCOMPLETE") from error
    return body


def _is_too_deep(raw: bytes) -> bool:
    """Whether valid JSON is nested beyond MAX_DEPTH: pairs of brackets with nothing between go, a level at a time."""
    brackets = _STRING.sub(b"", raw).translate(_ONE_KIND, _NO_BRACKET)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object has the same key twice")
    return made


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _reason(error: BaseException) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno} column {error.colno}"
    text = str(error)
    return "a number has too many digits" if "digits" in text else text[:200]


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse)
#: Of a key that is there twice the last value counts, as in most readers.
_PLAIN = json.JSONDecoder(parse_constant=_refuse)
_LENIENT = json.JSONDecoder(parse_constant=lambda constant: None)
