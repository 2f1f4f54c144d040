"""Cron expressions in English."""

from __future__ import annotations

import pytest

from sojourn.control_plane.domain import cron, cron_words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "Every minute"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("5 * * * *", "At minute 5 of every hour"),
        ("1-3,30 * * * *", "At minute 1-3 and 30 of every hour"),
        ("30 8 * * 1-5", "At 08:30 on Monday to Friday"),
        ("0,30 8,20 * * *", "At 08:00, 08:30, 20:00 and 20:30"),
        ("*/10 9-17 * 1-3 mon,wed", "Every 10 minutes in hours 9-17 on Monday and Wednesday in January to March"),
        ("* 2 * * *", "Every minute in hour 2"),
        ("0 0 1,15 * *", "At 00:00 on day 1 and 15 of the month"),
        ("0 0 L * *", "At 00:00 on the last day of the month"),
        ("0 0 1,L 2 *", "At 00:00 on day 1 and the last day of the month in February"),
        ("0 0 * * 5L", "At 00:00 on the last Friday of the month"),
        ("0 0 * * 0,6", "At 00:00 on Saturday and Sunday"),
        ("0 0 13 * 5", "At 00:00 on day 13 of the month or Friday"),
    ],
)
def test_words(expression: str, words: str) -> None:
    assert cron_words.describe(cron.parse(expression)) == words
