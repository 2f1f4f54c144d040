"""A cron expression in English, for people: "At 08:30 on Monday to Friday". Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sojourn.control_plane.domain.cron import Expression

_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip
_MOST_TIMES = 6


def describe(expression: Expression) -> str:
    """One sentence without its full stop."""
    return _time(expression) + _day(expression) + _month(expression)


def _time(expression: Expression) -> str:
    minutes, hours = expression.minutes, expression.hours
    if len(hours) == 24:
        told = _minutes(minutes)
        return f"{told} of every hour" if told.startswith("At") else told
    if len(minutes) * len(hours) <= _MOST_TIMES:
        return f"At {_listed(f'{hour:02}:{minute:02}' for hour in hours for minute in minutes)}"
    return f"{_minutes(minutes)} in hour{'s' if len(hours) > 1 else ''} {_spans(hours)}"


def _minutes(minutes: tuple[int, ...]) -> str:
    if len(minutes) == 60:
        return "Every minute"
    step = minutes[1] - minutes[0] if len(minutes) > 1 else 0
    if step and minutes == tuple(range(0, 60, step)):
        return f"Every {step} minutes"
    return f"At minute {_spans(minutes)}"


def _day(expression: Expression) -> str:
    told = []
    if expression.days or expression.last_day:
        numbers = f"day {_spans(sorted(expression.days or ()))}" if expression.days else ""
        told.append(" and ".join(filter(None, (numbers, "the last day" if expression.last_day else ""))) + " of the month")
    if expression.weekdays:
        # A week begins with Monday for people.
        days = sorted(expression.weekdays, key=lambda day: day or 7)
        told.append(_spans([day or 7 for day in days], lambda day: _WEEKDAYS[day % 7], " to "))
    if expression.last_weekdays:
        told.append(f"the last {_listed(_WEEKDAYS[day] for day in sorted(expression.last_weekdays))} of the month")
    return f" on {' or '.join(told)}" if told else ""


def _month(expression: Expression) -> str:
    if len(expression.months) == 12:
        return ""
    return f" in {_spans(sorted(expression.months), lambda month: _MONTHS[month - 1], ' to ')}"


def _spans(numbers: Iterable[int], name: Callable[[int], str] = str, between: str = "-") -> str:
    """Numbers with those in a row drawn together: 1-5, 8."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    told = [
        f"{name(span[0])}{between}{name(span[-1])}" if len(span) > 2 else _listed(name(each) for each in span)
        for span in spans
    ]
    return _listed(told)


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
