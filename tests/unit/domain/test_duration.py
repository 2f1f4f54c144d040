"""Durations and dates as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.domain import duration

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("30s", 30),
        ("10m", 600),
        ("1h30m", 5_400),
        ("1hr", 3_600),
        ("1hr5m", 3_900),
        ("2d", 172_800),
        ("1w", 604_800),
        ("1w2d3h4m5s", 788_645),
        ("1m1m", 120),
        ("007s", 7),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert duration.seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "10", "m", "1.5h", "-1s", "1y", "1 h", "1h ", "١s", "1h\n", "P1D", "9" * 60 + "s", "1s" * 51, "20000w"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(duration.BadTime):
        duration.seconds(text)


@given(st.integers(min_value=0, max_value=duration.LONGEST))
def test_what_is_written_is_read_again(total: int) -> None:
    assert duration.seconds(duration.written(total)) == total


def test_a_duration_is_written_in_the_largest_units() -> None:
    assert [duration.written(n) for n in (0, 59, 600, 5_400, 90_061)] == ["0s", "59s", "10m", "1h30m", "1d1h1m1s"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-04T12:00:00Z", NOW),
        ("2026-03-04T13:00:00+01:00", NOW),
        ("2026-03-04T12:00:00", NOW),
        ("2026-03-04 12:00:00+00:00", NOW),
        ("2026-03-04t12:00:00z", NOW),
        ("20260304T120000Z", NOW),
        ("2026-03-04", NOW.replace(hour=0)),
        ("20260304", NOW.replace(hour=0)),
        ("2026-W10-3", NOW.replace(hour=0)),
        ("1970-01-01", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_dates(text: str, expected: datetime) -> None:
    assert duration.date(text) == duration.moment(text) == expected


#: No date, and no number of ms that can be meant: seconds, minutes of a day, a compact date and time, microseconds.
NO_MOMENTS = [
    "", "yesterday", "2026-13-01", "0001-01-01T00:00:00+14:00", "٢٠٢٦-01-01", "2026-01-01x12:00", "2026-01", "2026", "10",
    "0", "1764262800", "978307199999", "202601011200", "20260101120000", "1772625600000000", "9" * 15, "9" * 5_000, "-1",
    "99999999", "20261301", "1772625600000.5", "1.7e12", "1772625600000 ", "2026-01-01T00:00:00 01:00",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_MOMENTS)
def test_what_is_no_date(text: str) -> None:
    for read in (duration.date, duration.moment, duration.until, lambda given: duration.ahead(given, NOW)):
        with pytest.raises(duration.BadTime):
            read(text)


@pytest.mark.parametrize("text", ["1772625600000", "978307200000", "1712121212121", "9999999999999"])
def test_ms_are_a_date_only_where_they_may_be(text: str) -> None:
    assert duration.moment(text).timestamp() * 1000 == int(text)
    for read in (duration.date, lambda given: duration.ahead(given, NOW)):
        with pytest.raises(duration.BadTime):
            read(text)


@given(st.from_regex(r"[0-9]{1,20}", fullmatch=True) | st.text(st.sampled_from("0123456789-T:Zw"), max_size=24))
def test_nothing_is_before_2001_unless_it_says_so(text: str) -> None:
    for read in (duration.date, duration.moment):
        try:
            moment = read(text)
        except duration.BadTime:
            continue
        # A zone may shift it into the year beside.
        assert moment.year >= 2001 or abs(int(text[:4]) - moment.year) <= 1


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-03-04T12:00:00.123Z", 123_999),
        ("1772625600123", 123_999),
        ("2026-03-04T12:00:00Z", 999),
        ("2026-03-04T12:00:00.123456Z", 123_456),
        ("9999-12-31T23:59:59.999Z", 999_999),
    ],
)
def test_a_span_has_the_whole_ms_that_it_ends_with(text: str, microsecond: int) -> None:
    end = duration.until(text)
    assert end.microsecond == microsecond and end - duration.moment(text) < timedelta(milliseconds=1)


def test_a_delay_is_a_duration_or_a_date() -> None:
    assert duration.ahead("90s", NOW) == NOW + timedelta(seconds=90)
    assert duration.ahead("2026-03-04T12:00:05Z", NOW) == NOW + timedelta(seconds=5)


def test_a_past_date_is_no_delay() -> None:
    assert duration.ahead("2020-01-01", NOW) is None


@pytest.mark.parametrize("text", ["9999-12-31T00:00:00Z", "soon", "99999w"])
def test_delays_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(duration.BadTime):
        duration.ahead(text, NOW)


@given(st.text(max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (duration.seconds, duration.date, duration.until, lambda given: duration.ahead(given, NOW)):
        try:
            read(text)
        except duration.BadTime:
            pass
