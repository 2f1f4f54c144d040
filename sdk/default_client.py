"""The client of this process: what `trigger`, `runs` and handles call with, unless they are given another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sojourn.sdk.client import Client
from sojourn.sdk.surroundings import named, named_key

#: The client that `auth.with_token` has put in the place of the process's, for this thread or coroutine.
_given: ContextVar[Client | None] = ContextVar("sojourn-client", default=None)


@contextmanager
def instead(client: Client) -> Iterator[Client]:
    """Within it, `client` is the default one of this thread or coroutine."""
    before = _given.set(client)
    try:
        yield client
    finally:
        _given.reset(before)


class _Default:
    """The process's client: one that was set, or one made from the environment, and made again when that changes."""

    client: Client | None = None
    made_from: tuple[str | None, str | None] | None = None


def configure(api_url: str | None = None, secret_key: str | None = None) -> Client:
    """Sets the client that `trigger`, `runs` and handles use in this process."""
    client = Client(api_url, secret_key)
    use(client)
    return client


def use(client: Client | None) -> Client | None:
    """Puts another default client in place, None for the environment's; the one that was set before."""
    before = _Default.client if _Default.made_from is None else None
    _Default.client, _Default.made_from = client, None
    return before


def default() -> Client:
    """The client of this process; within `auth.with_token` that token's."""
    given = _given.get()
    if given is not None:
        return given
    client = _Default.client
    if client is not None and _Default.made_from is None:
        return client
    said = (named("API_URL"), named_key())
    if client is None or _Default.made_from != said:
        client = Client()
        _Default.client, _Default.made_from = client, said
    return client


def is_default(client: Client) -> bool:
    """Whether a client calls the same server with the same key as the one of this process."""
    own = default()
    return (client.api_url, client._headers["Authorization"]) == (own.api_url, own._headers["Authorization"])


def close_connections() -> None:
    """Closes what the process's client keeps open."""
    if _Default.client is not None:
        _Default.client.close()
