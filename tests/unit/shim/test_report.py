"""When lines and changes of an attempt are sent, and what becomes of the control plane's answer."""

from __future__ import annotations

from typing import Any

import pytest

from sojourn.executor_shim.attempt import Attempt
from sojourn.executor_shim.report import Report


class Sender:
    """Takes batches; a test says when one has arrived, and what came of it."""

    def __init__(self) -> None:
        self.is_free = True
        self.batches: list[tuple[int, int]] = []
        self.answer: tuple[int, list[str]] = (0, [])

    def told(self, run: str) -> tuple[int, list[str]]:
        answer, self.answer = self.answer, (0, [])
        return answer

    def send(self, run: str, snapshot: int, token: str, lines: list[Any], changes: list[Any]) -> None:
        assert (run, snapshot, token) == ("run_1", 3, "t")
        self.batches.append((len(lines), len(changes)))


@pytest.fixture
def report() -> Report:
    return Report(Attempt({"run": {"id": "run_1"}, "attempt": {"number": 1}, "token": "t", "snapshot": 3}, 60.0), first=7)


@pytest.fixture
def sender() -> Any:
    return Sender()


def test_a_few_lines_go_with_the_next_batch_and_many_sooner(report: Report, sender: Any) -> None:
    report.logs.feed("stdout", b"one\n")
    assert report.due(101.0) == 101.0
    assert report.send(sender, 100.0) == 101.0
    report.logs.feed("stdout", b"line\n" * 1_300)
    assert report.due(101.0) == 100.25
    assert report.send(sender, 100.25) == 100.5, "more than one batch takes"
    assert report.send(sender, 100.5) == 101.5
    assert sender.batches == [(1, 0), (1_000, 0), (300, 0)]


def test_nothing_is_handed_over_while_a_batch_is_under_way(report: Report, sender: Any) -> None:
    report.logs.feed("stdout", b"line\n" * 300)
    sender.is_free = False
    assert report.send(sender, 100.0) == 100.25
    assert sender.batches == []
    assert len(report.logs) == 300


def test_changes_are_sent_until_they_were_taken_and_a_refusal_is_a_line(report: Report, sender: Any) -> None:
    report.changes.add({"n": 1, "whose": "run", "operation": {"type": "set", "key": "a", "value": 1}})
    report.send(sender, 100.0)
    report.send(sender, 101.0)
    assert sender.batches == [(0, 1), (0, 1)]
    sender.answer = ((1 << 32) + 1, ["it is too large"])
    report.send(sender, 102.0)
    assert sender.batches[2:] == [(1, 0)], "the line that says so"
    assert (len(report.changes), report.logs.next) == (0, 8)
