"""What is accepted fits the pattern that the page says of it: whoever goes by the page may be refused, never kept away."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.filter_values import values
from sojourn.control_plane.api.models.texts import task_name
from sojourn.control_plane.api.present import statuses as present
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.domain import addresses, cron, duration, ids, scopes, timetable
from sojourn.control_plane.engine.errors import WebhookInvalid
from sojourn.control_plane.engine.webhooks import check_url

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def _statuses(text: str) -> None:
    if any(present.status_of(word) is None for word in values(text, "status")) or not text:
        raise ValueError


def _one_status(texts: list[str]) -> None:
    if any(present.status_of(word) is None for word in values(texts, "status")):
        raise ValueError


def _known(check: Callable[[str], bool]) -> Callable[[str], None]:
    def read(text: str) -> None:
        if not check(text):
            raise ValueError

    return read


#: What reads a text, and the pattern of the page.
READERS: dict[str, tuple[Callable[[str], Any], Any]] = {
    "duration": (duration.seconds, patterns.DURATION),
    "date": (duration.date, patterns.DATE),
    "moment": (duration.moment, patterns.MOMENT),
    "either": (lambda text: duration.ahead(text, NOW), patterns.DURATION_OR_DATE),
    "window": (timetable.window, patterns.WINDOW),
    "cron": (cron.parse, patterns.CRON),
    "scope of a key": (_known(scopes.is_known), patterns.KEY_SCOPE),
    "scope of a token": (_known(lambda text: scopes.is_known(text, public=True)), patterns.TOKEN_SCOPE),
    "one status": (lambda text: _one_status([text, "QUEUED"]), patterns.one_listed(present.STATUS_WORDS)),
    "task": (task_name, patterns.TASK),
    "run": (_known(lambda text: ids.is_id(text, "run")), patterns.RUN_ID),
    "url": (lambda text: check_url(text, addresses.read("public,private")), patterns.URL),
    "base 64": (lambda text: b64decode(text, validate=True), patterns.BASE64),
    "statuses": (_statuses, patterns.listed(present.STATUS_WORDS)),
}
_DATES = st.tuples(
    st.sampled_from(
        ["2026-01-31", "20260131", "2026-W05-1", "2026W051", "2026-W05", "2026-13-31", "0001-01-01", "17", "9" * 15]
    ),
    st.sampled_from(["", "T", " ", "5", "-", "\n", "x"]),
    st.sampled_from(
        ["", "12", "12:30", "1230", "12:30:00.5", "12:30:00,123456", "24:00", "12:30Z", "12:30+02:00", "123000-0130"]
    ),
).map("".join)
_WORDS = st.sampled_from(
    ["QUEUED", "FROZEN", "INTERRUPTED", ",", " , ", " ", "\t", "read", "admin", ":", "runs", "tags", "*", "30", "m", "h",
     "%", "100", "1h", "2w", "5hr", "http://", "HTTPS://", "example.com", "/hook", "?a=b", "run_", "0" * 26, "* * * * *",
     "0 8 ", "L", "5L", "eA==", "eHg=", "\n"]
)  # fmt: skip
_TEXTS = st.one_of(
    _DATES,
    st.lists(_WORDS, max_size=6).map("".join),
    st.text(max_size=30),
    *(st.from_regex(each.json_schema_extra["pattern"], fullmatch=True) for _, each in READERS.values()),
)


@settings(max_examples=1_500, deadline=None)
@given(_TEXTS)
def test_whatever_is_accepted_fits_its_pattern(text: str) -> None:
    for name, (read, said) in READERS.items():
        try:
            read(text)
        except (ValueError, Problem, WebhookInvalid):
            continue
        assert re.fullmatch(said.json_schema_extra["pattern"], text), (name, text)


@pytest.mark.parametrize("name", READERS)
def test_the_examples_are_accepted(name: str) -> None:
    read, said = READERS[name]
    for text in said.json_schema_extra.get("examples", ()):
        read(text)
        assert re.fullmatch(said.json_schema_extra["pattern"], text)
