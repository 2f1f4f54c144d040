"""What the OpenAPI page says of texts that are read elsewhere: each pattern takes at least all that is accepted.

They are for readers, and for programs that make requests out of the page; nothing is validated by them, so that they cost
no call anything. What a pattern cannot say, such as that a date has to exist, is refused with a word about it all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from sojourn.control_plane.domain import scopes

_ID = "[0-9a-hjkmnp-tv-z]{26}"
_DURATION = r"([0-9]{1,15}(w|d|hr|h|m|s))+"
#: An ISO date with or without a time.
_DATE = r"[0-9]{4}(-[0-9]{2}-[0-9]{2}|[0-9]{4}|-[Ww][0-9]{2}-[0-9]|[Ww][0-9]{3})([Tt ][0-9:., +Zz-]+)?"

#: Values of one filter.
MAX_VALUES = 100


@dataclass(frozen=True, slots=True)
class Checked:
    """An annotation of a text that a function checks; the page says a pattern."""

    check: Callable[[str], str]
    pattern: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"pattern": self.pattern, **handler(schema)}  # what follows it in an annotation is narrower


def said(pattern: str, *examples: str) -> Any:
    """A field's pattern, and what fits it."""
    return Field(json_schema_extra={"pattern": f"^({pattern})$"} | ({"examples": list(examples)} if examples else {}))


def listed(words: Iterable[str]) -> Any:
    """A filter's values, which are some of the words, with commas between."""
    word = "|".join(re.escape(each) for each in words)
    return said(rf"[\s,]*({word})(\s*,[\s,]*({word})){{0,{MAX_VALUES - 1}}}[\s,]*")


def one_listed(words: Iterable[str]) -> Any:
    """One of a filter's values, where each has a parameter of its own."""
    word = "|".join(re.escape(each) for each in words)
    return said(rf"\s*({word})?\s*")


def any_of(words: Iterable[str]) -> Any:
    """A field that is one of the words."""
    return said("|".join(map(re.escape, words)))


def _scope(*, public: bool) -> str:
    def types(action: str) -> str:
        return "|".join(each for each in scopes.TYPES if scopes.is_known(f"{action}:{each}", public=public))

    named = "|".join(f"{re.escape(action)}:({types(action)})" for action in scopes.ACTIONS)
    return rf"admin|({named})(:[^\u0000-\u001f]{{1,400}})?"


_SEGMENT = "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}"
FILE = f"^{_SEGMENT}(/{_SEGMENT})*$"
#: Printable: of what is not, the page names what a pattern can.
TASK = said(r"[^\u0000-\u001f\u007f-\u00a0]+", "send-mail")
RUN_ID = said(f"run_{_ID}")
DURATION = said(_DURATION, "1h30m")
DATE = said(_DATE, "2026-01-31T12:00:00Z")
#: The same, or ms since the epoch: of 2001 and later, so that no day is taken for them.
MOMENT = said(f"{_DATE}|0*[0-9]{{12,13}}", "2026-01-31T12:00:00Z", "1769860800000")
MILLISECONDS = {"minimum": 978_307_200_000, "exclusiveMaximum": 10**13}
DURATION_OR_DATE = said(f"{_DURATION}|{_DATE}", "1h30m", "2026-01-31T12:00:00Z")
SCOPE = said(r"admin|([A-Za-z]{1,32}|\*):[A-Za-z]{1,32}(:[^\u0000-\u001f]{1,400})?", "read:runs")
KEY_SCOPE = said(_scope(public=False), "read:runs")
TOKEN_SCOPE = said(_scope(public=True), "read:runs")
WINDOW = said("([1-9][0-9]{0,2}|1[0-3][0-9]{2}|14[0-3][0-9]|1440)m|([1-9]|1[0-9]|2[0-4])h|([1-9][0-9]?|100)%", "30m", "25%")
CRON = said(r"\s*([^\s\u0000]+\s+){4}[^\s\u0000]+\s*", "0 8 * * 1-5")
URL = said(r"\s*[Hh][Tt][Tt][Pp][Ss]?://[!-~]+", "https://example.com/hook")
BASE64 = said("[A-Za-z0-9+/]*=*")


def never_null(schema: dict[str, Any]) -> None:
    """For a field that may be left out, and where null is no way to do so."""
    [kept] = [choice for choice in schema.pop("anyOf") if choice != {"type": "null"}]
    schema |= kept


def not_both(flag: str, other: str) -> Any:
    """For a body: where the flag is set the other field is not there."""
    both = {flag: {"const": True}, other: {"not": {"type": "null"}}}
    return {"not": {"required": [flag, other], "properties": both}}


def one_of(first: str, second: str) -> Any:
    """For a body: either of two fields is there and not null."""
    there, absent = {"not": {"type": "null"}}, {"type": "null"}
    choices = [
        {"required": [one], "properties": {one: there, other: absent}} for one, other in ((first, second), (second, first))
    ]
    return {"oneOf": choices}
