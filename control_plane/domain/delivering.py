"""When a message to a webhook is sent again, and when a webhook is given up: pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

#: What messages can be about.
EVENTS = (
    "run.completed", "run.failed", "run.crashed", "run.canceled", "run.expired", "run.timed_out", "run.system_failure",
)  # fmt: skip
#: Pauses after the first, second … attempt; the last one again and again, for `LONGEST`.
_PAUSES = tuple(
    timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200)
)  # fmt: skip
#: A message about no run, which somebody asks for to see whether messages arrive; and how long it is tried.
TEST, TEST_LIFE = "webhook.test", timedelta(minutes=10)
_JITTER = 0.2
#: How long a message is tried.
LONGEST = timedelta(days=3)
#: A webhook that has failed so often in a row, and for so long, is disabled.
MAX_FAILURES, FAILING_FOR = 20, timedelta(days=1)
#: The answer of a receiver that wants nothing more, ever.
GONE = 410
#: A reason that is none of the receiver's is looked at again so soon.
_OUR_PAUSE = timedelta(minutes=1)
_MESSAGE = re.compile(r"msg_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt: a status, or in words why there was none."""

    status: int | None = None
    error: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether the receiver has taken the message. A redirection is none: it would lead somewhere else."""
        return self.status is not None and 200 <= self.status < 300


def is_message(text: str) -> bool:
    """Whether a text has the form of a message's id."""
    return _MESSAGE.fullmatch(text) is not None


def next_attempt(tries: int, give_up_at: datetime, now: datetime, unit_random: float) -> datetime | None:
    """When a message that was sent `tries` times in vain is sent again; None when its time is over.

    `unit_random` in [0, 1) keeps those apart that failed together.
    """
    pause = _PAUSES[min(tries, len(_PAUSES)) - 1]
    due = now + pause * (1 + _JITTER * unit_random)
    return due if due <= give_up_at else None


def when_it_can_be_sent(give_up_at: datetime, now: datetime) -> datetime | None:
    """When a message that could not even be made is looked at again; None when its time is over."""
    due = now + _OUR_PAUSE
    return due if due <= give_up_at else None


def why_disabled(answer: Answer, failures: int, failing_since: datetime, now: datetime) -> str | None:
    """Why a webhook is given up after one failure more; None where it is not. `failures` counts that one."""
    if answer.status == GONE:
        return "it answered 410 Gone"
    if failures >= MAX_FAILURES and now - failing_since >= FAILING_FOR:
        last = answer.error or f"status {answer.status}"
        return f"{failures} attempts in a row failed, since {failing_since:%Y-%m-%d %H:%M} UTC; the last one: {last}"
    return None
