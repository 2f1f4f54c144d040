"""Environment variables over HTTP. A secret's value is shown by one address alone, which resolves what runs get."""

from __future__ import annotations

import io
import re
from typing import Any

import falcon
from dotenv.parser import parse_stream
from falcon.media import MultipartFormHandler
from falcon.media.multipart import MultipartParseOptions

from sojourn.control_plane.api.body import Stream, parse
from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.edge import read_body
from sojourn.control_plane.api.models.variables import ImportBody, ValueBody, VariableBody
from sojourn.control_plane.api.naming import check_named
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.domain.variables import REDACTED
from sojourn.control_plane.engine.variables import Variables as VariableCases
from sojourn.control_plane.store.variables import Variable

IMPORT_LIMIT = 2 * 1024 * 1024
#: Of a dotenv file; a thousand certificates have fewer.
MAX_LINES = 20_000
#: The reader of such files looks for a comment behind each blank, and there for all that follow: their square in steps.
MAX_BLANKS = 100
_BLANKS = re.compile(rf"(?<![^\S\r\n])[^\S\r\n]{{{MAX_BLANKS + 1}}}")
_LINE_END = re.compile(r"\r\n|\n|\r")
#: Lines without a variable that are told of.
_MAX_SKIPPED = 1_000
_SUCCESS = {"success": True}


class Variables:
    """What can be done with an environment's variables."""

    def __init__(self, variables: VariableCases, api_url: str):
        self._variables = variables
        self._api_url = api_url

    def list(self, call: Call, ref: str, env: str) -> list[dict[str, Any]]:
        """Every variable, secrets without their values."""
        check_named(call.environment, ref, env)
        return [_shown(variable) for variable in self._variables.list(call.environment)]

    def create(self, call: Call, ref: str, env: str) -> dict[str, Any]:
        """Sets a variable; one that is there gets the new value."""
        check_named(call.environment, ref, env)
        body: VariableBody = call.body
        self._variables.put(call.environment, {body.name: body.value}, call.now, is_secret=bool(body.isSecret))
        return _SUCCESS

    def bring(self, call: Call, ref: str, env: str) -> dict[str, Any]:
        """Sets many at once, out of JSON or a dotenv file."""
        check_named(call.environment, ref, env)
        wanted, skipped = import_of(call)
        there = self._variables.put(
            call.environment,
            wanted.variables,
            call.now,
            is_secret=bool(wanted.isSecret),
            override=bool(wanted.override),
        )
        kept = [] if wanted.override else sorted(there)
        created, updated = len(wanted.variables) - len(there), len(there) - len(kept)
        told = {**_SUCCESS, "created": created, "updated": updated, "kept": kept}
        return {**told, "skippedLines": skipped[:_MAX_SKIPPED]} if skipped else told

    def retrieve(self, call: Call, ref: str, env: str, name: str) -> dict[str, Any]:
        """A variable, a secret without its value."""
        check_named(call.environment, ref, env)
        return _shown(self._variables.find(call.environment, name))

    def update(self, call: Call, ref: str, env: str, name: str) -> dict[str, Any]:
        """Another value for a variable that is there."""
        check_named(call.environment, ref, env)
        body: ValueBody = call.body
        self._variables.change(call.environment, name, body.value, call.now)
        return _SUCCESS

    def update_by_post(self, call: Call, ref: str, env: str, name: str) -> dict[str, Any]:
        """The same for clients that post."""
        return self.update(call, ref, env, name)

    def delete(self, call: Call, ref: str, env: str, name: str) -> dict[str, Any]:
        """Runs get it no longer."""
        check_named(call.environment, ref, env)
        self._variables.delete(call.environment, name)
        return _SUCCESS

    def resolve(self, call: Call, ref: str) -> dict[str, Any]:
        """What a run of the environment is given, secrets and the platform's own variables too."""
        environment = call.environment
        check_named(environment, ref, None)
        own = {"SOJOURN_API_URL": self._api_url, "TRIGGER_API_URL": self._api_url}
        return {"variables": self._variables.resolved(environment) | own}


def import_of(call: Call) -> tuple[ImportBody, list[int]]:
    """What is to be set, out of a body of either kind, and a file's lines that hold none of it. `Problem`."""
    stream: Stream = call.body
    media_type = call.headers.get("CONTENT_TYPE") or ""
    if not media_type.lower().startswith("multipart/form-data"):
        body = read_body(stream.whole(IMPORT_LIMIT), ImportBody, parse)
        assert isinstance(body, ImportBody)
        return body, []
    return _of_form(stream.whole(IMPORT_LIMIT), media_type)


def dotenv(text: str) -> tuple[dict[str, str], list[int]]:
    """The variables of a dotenv file, as they stand: nothing is put in for `$NAME`. A name without `=` is none.

    With the numbers of the lines that are neither a variable nor a comment nor blank.
    `Problem` for a file that would be read for seconds, in which this process would do nothing else.
    """
    if max(text.count("\n"), text.count("\r")) > MAX_LINES:
        raise _unread(f"a file has {MAX_LINES} lines at most")
    if _BLANKS.search(text):
        raise _unread(f"there are {MAX_BLANKS} blanks in a row at most")
    found: dict[str, str] = {}
    skipped: list[int] = []
    for each in parse_stream(io.StringIO(text)):
        if each.key is not None and each.value is not None:
            found[each.key] = each.value
        elif each.error or each.key is not None:
            skipped.append(each.original.line + _blank_before(each.original.string))
    return found, skipped


def _blank_before(text: str) -> int:
    """Lines that are blank before the first one that is not: the reader takes them for a part of what follows."""
    return len(_LINE_END.findall(text[: len(text) - len(text.lstrip())]))


def _unread(why: str) -> Problem:
    return Problem("BODY_INVALID", f"Body Error: variables: {why}", field="variables")


def _of_form(raw: bytes, media_type: str) -> tuple[ImportBody, list[int]]:
    fields: dict[str, str] = {}
    options = MultipartParseOptions()
    options.max_body_part_buffer_size = IMPORT_LIMIT
    handler = MultipartFormHandler(parse_options=options)
    try:
        for part in handler.deserialize(io.BytesIO(raw), media_type, len(raw)):
            fields[part.name or ""] = part.get_data().decode("utf-8")
    except (falcon.HTTPError, ValueError):
        raise Problem("BODY_INVALID", "Body Error: the form cannot be read", field="variables") from None
    if "variables" not in fields:
        raise Problem("BODY_INVALID", "Body Error: variables: the form has no such part", field="variables")
    variables, skipped = dotenv(fields["variables"])
    body = ImportBody(
        variables=variables,
        override=fields.get("override", "").lower() == "true",
        isSecret=fields.get("isSecret", "").lower() == "true",
    )
    return body, skipped


def _shown(variable: Variable) -> dict[str, Any]:
    value = REDACTED if variable.is_secret else variable.value
    return {"name": variable.name, "value": value, "isSecret": variable.is_secret}
