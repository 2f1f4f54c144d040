"""What the API refuses, refused in a test, too: by the platform's own rules, which are pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane.domain import duration, rates
from sojourn.sdk import testing_options
from sojourn.sdk.protocol import MAX_QUEUE_LIMIT, MAX_TAGS
from sojourn.sdk.testing_refusal import Refused

_SHORTEST = timedelta(seconds=1)


def refused(field: str, why: object) -> Refused:
    """A body that cannot be used, and the field at fault."""
    return Refused(400, "BODY_INVALID", f"{field}: {why}", field)


def seconds(text: Any, field: str) -> int:
    """Seconds of a duration."""
    try:
        return duration.seconds(str(text))
    except duration.BadTime as error:
        raise refused(field, error) from None


def ahead(text: str, field: str, now: datetime) -> datetime | None:
    """When a duration or a date is over; None for a date that is past."""
    try:
        return duration.ahead(text, now)
    except duration.BadTime as error:
        raise refused(field, error) from None


def trigger(options: Mapping[str, Any], now: datetime) -> None:
    """The options of a trigger that have to be such and such."""
    found = testing_options.flaw(options)
    if found is not None:
        raise refused(*found)
    if options.get("delay") is not None:
        ahead(options["delay"], "options.delay", now)
    if isinstance(options.get("ttl"), str):
        seconds(options["ttl"], "options.ttl")
    if options.get("idempotencyKeyTTL") is not None:
        seconds(options["idempotencyKeyTTL"], "options.idempotencyKeyTTL")
    if options.get("debounce"):
        debounce(options["debounce"], "options.debounce")
    tags = options.get("tags") or []
    count = len({tag for tag in ([tags] if isinstance(tags, str) else tags) if tag.strip()})
    if count > MAX_TAGS:
        raise Refused(422, "TOO_MANY_TAGS", f"There are {count} tags.", "options.tags")


def debounce(wish: Mapping[str, Any], field: str = "options.debounce") -> tuple[timedelta, timedelta | None]:
    """How long a debounced run is put off by each trigger, and by all of them at most."""
    delay = timedelta(seconds=seconds(wish["delay"], f"{field}.delay"))
    longest = timedelta(seconds=seconds(wish["maxDelay"], f"{field}.maxDelay")) if wish.get("maxDelay") else None
    if delay < _SHORTEST:
        raise refused(f"{field}.delay", "is 1 second at least")
    if longest is not None and longest <= delay:
        raise refused(f"{field}.maxDelay", "must be more than delay")
    return delay, longest


def rate(body: Mapping[str, Any]) -> rates.Rate:
    """A rate that a call asks for."""
    if body.get("perKey") and body.get("concurrencyKey") is not None:
        raise Refused(400, "BODY_INVALID", "The body takes either perKey or concurrencyKey.")
    for name in ("limit", *(["burst"] if body.get("burst") is not None else [])):
        if not _is_whole(body[name]):
            raise refused(name, "must be a whole number")
    try:
        return rates.read(body["limit"], body["period"], body.get("burst"))
    except rates.BadRate as error:
        raise refused(error.field, error) from None


def limit(body: Mapping[str, Any]) -> None:
    """A limit that a call asks for, a number or a percentage."""
    number, percent = body.get("concurrencyLimit"), body.get("percent")
    if number is not None and not (_is_whole(number) and 0 <= number <= MAX_QUEUE_LIMIT):
        raise refused("concurrencyLimit", f"is a whole number, 0 to {MAX_QUEUE_LIMIT}")
    if percent is not None and not ((_is_whole(percent) or isinstance(percent, float)) and 0 < percent <= 100):
        raise refused("percent", "is above 0, 100 at most")


def _is_whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)
