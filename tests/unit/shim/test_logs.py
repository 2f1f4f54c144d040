"""Lines: split, cut, counted, bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sojourn.executor_shim.logs import MAX_CHARS, MAX_LINES, LogBuffer
from sojourn.sdk.protocol import MAX_LOG_LINE_CHARS


def buffer() -> LogBuffer:
    return LogBuffer(2, clock=lambda: 1_767_225_600.25)


def messages(log: LogBuffer) -> list[str]:
    log.finish()
    return [line["message"] for line in log.take()]


def test_a_line_has_its_time_and_place() -> None:
    log = buffer()
    log.feed("stdout", b"hi\r\n")
    log.add_frame({"level": "LOUD", "message": 7, "properties": [1]})
    log.add_frame({"level": ["x"], "message": "m", "properties": {"a": 1}})
    first, second, third = log.take()
    assert first == {
        "attempt": 2, "n": 1, "at": "2026-01-01T00:00:00.250000+00:00", "stream": "stdout", "level": "LOG",
        "message": "hi",
    }  # fmt: skip
    assert (second["n"], second["level"], second["message"], "properties" in second) == (2, "LOG", "7", False)
    assert (third["stream"], third["properties"]) == ("logger", {"a": 1})


@given(st.binary(max_size=200), st.lists(st.integers(min_value=1, max_value=20)))
def test_lines_are_the_same_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    whole, log, rest = buffer(), buffer(), data
    whole.feed("stdout", data)
    for cut in cuts:
        log.feed("stdout", rest[:cut])
        rest = rest[cut:]
    log.feed("stdout", rest)
    assert messages(log) == messages(whole)


def test_streams_do_not_mix_and_the_last_lines_of_stderr_are_kept() -> None:
    log = buffer()
    log.feed("stdout", b"out")
    for number in range(60):
        log.feed("stderr", b"error %d\n" % number)
    log.feed("stdout", b" put")
    log.feed("stderr", b"no end")
    told = messages(log)
    assert (told[0], told[-2:]) == ("error 0", ["out put", "no end"])
    assert log.last_lines().splitlines() == [f"error {number}" for number in range(21, 60)] + ["no end"]


def test_a_long_line_is_cut_and_what_follows_is_a_line_again() -> None:
    log = buffer()
    for _ in range(40):
        log.feed("stderr", b"x" * 65_536)
    log.feed("stderr", b"rest\nnext\n")
    log.add_frame({"message": "y" * 50_000})
    told = messages(log)
    assert len(told[0]) == len(told[2]) > MAX_LOG_LINE_CHARS
    assert told[0].endswith("… (line cut)") and told[1] == "next"


def test_what_is_too_much_is_dropped_and_counted() -> None:
    log = buffer()
    for _ in range(10):
        log.feed("stdout", b"line\n" * 1_000)
    log.feed("stdout", b"half")
    log.feed("stdout", b" a line\nlast")
    assert len(log) == MAX_LINES
    lines = log.take()
    assert [line["message"] for line in lines[MAX_LINES:]] == ["5001 lines dropped"]
    assert (lines[-1]["stream"], lines[-1]["level"]) == ("system", "WARN")
    log.feed("stdout", b" words\n")
    assert messages(log) == ["last words"]


def test_characters_are_bounded_too() -> None:
    log = buffer()
    for _ in range(200):
        log.add("INFO", "x" * 30_000)
    log.add("INFO", "x", {"large": "y" * MAX_CHARS})
    told = log.take()
    assert sum(len(line["message"]) for line in told) < MAX_CHARS + 100_000
    assert told[-1]["message"].endswith("lines dropped")
    log.add("INFO", "x", {"large": "y" * 2 * MAX_CHARS})
    log.add("INFO", "dropped")
    assert [line["message"] for line in log.take()] == ["x", "1 lines dropped"]


def test_lines_are_taken_in_parts() -> None:
    log = buffer()
    log.feed("stdout", b"1\n2\n3\n")
    assert [line["message"] for line in log.take(2)] == ["1", "2"]
    assert messages(log) == ["3"]
