"""`wait`: what lets a run pause until a date, a token, or other runs, without holding a place meanwhile.

In `def` code a call returns when the wait is over. In `async def` code (where an event loop runs in this thread) the same
call gives an awaitable, and several may be awaited at once.
"""

from __future__ import annotations

from sojourn.sdk import inside
from sojourn.sdk.errors import ConfigurationError, PastDateError
from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Generator, Iterator, Sequence
    from datetime import datetime, timedelta
    from typing import Any

    from sojourn.sdk.client import Client
    from sojourn.sdk.conditions import Condition, Date, ForRun, ForToken
    from sojourn.sdk.run import RunHandle
    from sojourn.sdk.tokens import Token, TokenResult, TokenState
    from sojourn.sdk.waiting import Group, Waiting


class First(Value):
    """What ended a `wait.any`: its argument's `index`, the `condition` itself, and its `result`."""

    __slots__ = ("condition", "index", "result")
    index: int
    condition: Condition
    result: Any

    def __init__(self, index: int, condition: Condition, result: Any):
        self._keep(index, condition, result)

    if TYPE_CHECKING:  # in `async def` code an awaitable stands for it

        def __await__(self) -> Generator[Any, None, First]: ...


class All(list["Any"]):
    """Results of a `wait.all`, in the order of its arguments."""

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, All]: ...


if TYPE_CHECKING:

    class TokenStates(Iterator[TokenState]):
        """What `wait.list_tokens` gives: an iterator, or in `async def` code an async iterator."""

        def __next__(self) -> TokenState: ...
        def __aiter__(self) -> AsyncIterator[TokenState]: ...


class Wait:
    """The functions of `sojourn.wait`."""

    # --- dates

    def for_(
        self,
        *,
        seconds: float = 0,
        minutes: float = 0,
        hours: float = 0,
        days: float = 0,
        weeks: float = 0,
        idempotency_key: Any = None,
        idempotency_key_ttl: Any = None,
    ) -> Awaitable[None]:
        """Waits so long. Short waits (5 s) are slept in the process; nothing or less returns at once.

        With an idempotency key a later attempt of the run does not wait again, however short the wait is.
        """
        waiting = inside.current("wait.for_")
        total = _seconds(seconds, minutes, hours, days, weeks)
        if total <= 0:
            return _nothing()
        date = self.delay(seconds=total, idempotency_key=idempotency_key, idempotency_key_ttl=idempotency_key_ttl)
        return _nap(waiting, date, total) if total <= waiting.short and idempotency_key is None else _one(date)

    def until(
        self,
        when: datetime | str,
        throw_if_in_the_past: bool = False,
        *,
        idempotency_key: Any = None,
        idempotency_key_ttl: Any = None,
    ) -> Awaitable[None]:
        """Waits until a date (aware), or a text of one. A date that is over returns at once, or is a PastDateError."""
        waiting = inside.current("wait.until")
        date = self.date(when, idempotency_key=idempotency_key, idempotency_key_ttl=idempotency_key_ttl)
        now = waiting.now()
        left = (date.moment(now) - now).total_seconds()
        if left <= 0:
            if throw_if_in_the_past:
                raise PastDateError(f"{when} is over since {-left:.0f} s: wait.until was told to raise for it")
            return _nothing()
        return _nap(waiting, date, left) if left <= waiting.short and idempotency_key is None else _one(date)

    # --- tokens

    def create_token(
        self,
        *,
        timeout: str | float | timedelta | datetime | None = None,
        tags: str | Sequence[str] | None = None,
        idempotency_key: Any = None,
        idempotency_key_ttl: Any = None,
        client: Client | None = None,
    ) -> Token:
        """A new token, from anywhere. `timeout`: how long, or until when, it can be completed; None is for ever.

        An idempotency key that is written in a task holds for its run alone.
        """
        from sojourn.sdk import token_calls

        options = token_calls.options(timeout, tags, idempotency_key, idempotency_key_ttl)
        return inside.call(token_calls.create, options, client)

    def for_token(self, token: Token | str) -> TokenResult:
        """Waits until a token is completed, or its time is over."""
        inside.current("wait.for_token")
        return _one(self.token(token))

    def complete_token(self, token: Token | str, data: Any = None, *, client: Client | None = None) -> Awaitable[None]:
        """Completes a token with data that is JSON, from anywhere; the first completion counts."""
        from sojourn.sdk import token_calls

        return inside.call(token_calls.complete, _id(token), data, client)

    def retrieve_token(self, token: Token | str, *, client: Client | None = None) -> TokenState:
        """A token as it stands."""
        from sojourn.sdk import token_calls

        return inside.call(token_calls.retrieve, _id(token), client)

    def list_tokens(
        self,
        *,
        status: str | Sequence[str] | None = None,
        tags: str | Sequence[str] | None = None,
        idempotency_key: Any = None,
        period: str | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        limit: int | None = None,
        client: Client | None = None,
    ) -> TokenStates:
        """Tokens, newest first, page after page as they are asked for; in `async def` code an async iterator.

        `status`: WAITING, COMPLETED, TIMED_OUT; `period`: such as "1d". Several values: any fits.
        """
        from sojourn.sdk import pages, token_calls

        filters = token_calls.filters(status, tags, idempotency_key, period, created_from, created_to)
        listed: TokenStates = pages.listed(token_calls.pages(filters, limit, client))
        return listed

    # --- several at once

    def any(self, *conditions: Condition) -> First:
        """Waits until one of them has come: `wait.any(wait.token(t), wait.delay(minutes=5), wait.run(handle))`."""
        waiting = inside.current("wait.any")
        return inside.wait_for(waiting, "any", _checked("wait.any", conditions), _first)

    def all(self, *conditions: Condition) -> All:
        """Waits until all of them have come; their results in order."""
        waiting = inside.current("wait.all")
        return inside.wait_for(waiting, "all", _checked("wait.all", conditions), _results)

    def delay(
        self,
        *,
        seconds: float = 0,
        minutes: float = 0,
        hours: float = 0,
        days: float = 0,
        weeks: float = 0,
        idempotency_key: Any = None,
        idempotency_key_ttl: Any = None,
    ) -> Date:
        """For `any` and `all`: so long after the waiting begins. Its result is None."""
        from sojourn.sdk.conditions import Date

        key, ttl = _key(idempotency_key), _ttl(idempotency_key_ttl)
        return Date(seconds=_seconds(seconds, minutes, hours, days, weeks), key=key, key_ttl=ttl)

    def date(self, when: datetime | str, *, idempotency_key: Any = None, idempotency_key_ttl: Any = None) -> Date:
        """For `any` and `all`: a moment. Its result is None."""
        from sojourn.sdk.conditions import Date

        return Date(at=_moment(when), key=_key(idempotency_key), key_ttl=_ttl(idempotency_key_ttl))

    def token(self, token: Token | str) -> ForToken:
        """For `any` and `all`: a token. Its result is a TokenResult."""
        from sojourn.sdk.conditions import ForToken

        return ForToken(_id(token))

    def run(self, run: RunHandle | str) -> ForRun:
        """For `any` and `all`: a run of this environment. Its result is a TaskResult."""
        from sojourn.sdk.conditions import ForRun

        return ForRun(run) if isinstance(run, str) else ForRun(run.id, run.task)


# --- results


def _one(condition: Condition) -> Any:
    return inside.wait_for(inside.current("wait"), "all", [condition], lambda group: group.result(0))


def _first(group: Group) -> First:
    index = group.first
    return First(index, group.conditions[index], group.result(index))


def _results(group: Group) -> All:
    return All(group.result(index) for index in range(len(group.conditions)))


def _nap(waiting: Waiting, date: Date, seconds: float) -> Any:
    if inside.in_loop():
        return waiting.nap_in_loop(date, seconds)
    waiting.nap(date, seconds)
    return None


def _nothing() -> Any:
    """Nothing to wait for."""
    if not inside.in_loop():
        return None

    async def at_once() -> None:
        return

    return at_once()


# --- what is given


def _checked(what: str, conditions: Sequence[Condition]) -> Sequence[Condition]:
    from sojourn.sdk.conditions import Condition

    if not conditions:
        raise TypeError(f"{what} takes what to wait for: wait.token(t), wait.delay(minutes=5), wait.run(handle) …")
    for each in conditions:
        if not isinstance(each, Condition):
            raise TypeError(
                f"{what} takes wait.token(t), wait.delay(minutes=5), wait.date(when) and wait.run(handle), not {each!r}"
            )
    return conditions


def _seconds(seconds: float, minutes: float, hours: float, days: float, weeks: float) -> float:
    total = seconds + 60 * minutes + 3_600 * hours + 86_400 * days + 604_800 * weeks
    if isinstance(total, bool) or not isinstance(total, int | float) or total != total or total in (_FOREVER, -_FOREVER):
        raise ConfigurationError(f"{total!r} is no time to wait: use numbers, as in wait.for_(hours=1, minutes=30)")
    return float(total)


_FOREVER = float("inf")


def _moment(when: Any) -> datetime:
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError:
        raise ConfigurationError(f'{when!r} is no date: write it like "2026-03-04T12:00:00+00:00"') from None
    if not isinstance(moment, datetime):
        raise ConfigurationError(f"{when!r} is no date: use an aware datetime")
    if moment.tzinfo is None:
        raise ConfigurationError("the date to wait for has no time zone: add tzinfo=timezone.utc")
    return moment


def _id(token: Token | str) -> str:
    name = token if isinstance(token, str) else getattr(token, "id", None)
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{token!r} is no token: give what wait.create_token gave, or its id")
    return name


def _key(key: Any) -> str | None:
    if key is None:
        return None
    from sojourn.sdk import trigger_options

    here = inside.context.inside()
    return trigger_options.idempotency_key(key, here.run.id if here is not None else None)


def _ttl(ttl: Any) -> int | None:
    if ttl is None:
        return None
    from sojourn.sdk import trigger_options

    return trigger_options.seconds(ttl)


wait = Wait()
