"""`auth`: public tokens, which let a browser, or anybody, do a little and for a while; and calls that are made with one.

In `async def` code (where an event loop runs in this thread) calls that ask the API give an awaitable.
"""

from __future__ import annotations

from sojourn.sdk import inside
from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.named import id_of, several

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta
    from typing import Any

    from sojourn.sdk.client import Client
    from sojourn.sdk.task import Task

    Scopes = Sequence[str] | Mapping[str, Mapping[str, str | Sequence[str] | bool]]

    class PublicToken(str):
        """What the calls give: the token's text; in `async def` code an awaitable stands for it."""

        def __await__(self) -> Generator[Any, None, str]: ...


class Auth:
    """`sojourn.auth` uses the process's client, `Auth(client)` another."""

    def __init__(self, client: Client | None = None):
        self._given = client

    def create_public_token(
        self,
        *,
        scopes: Scopes,
        expiration: str | float | timedelta | datetime = "15m",
        one_time: bool = False,
        skip_columns: Sequence[str] = (),
    ) -> PublicToken:
        """A token with those scopes: `["read:runs:run_…"]`, or `{"read": {"runs": "run_…", "tags": ["a", "b"]}}`.

        `expiration`: a duration, seconds, or a date; 30 days ahead at most. `one_time`: it works for one request.
        `skip_columns`: what feeds of runs leave out. ConfigurationError for what is no scope of a public token,
        PermissionDeniedError for scopes that the key itself lacks.
        """
        wanted: dict[str, Any] = {"scopes": flattened(scopes, public=True), "expirationTime": time_of(expiration)}
        if one_time:
            wanted["oneTimeUse"] = True
        if skip_columns:
            wanted["realtime"] = {"skipColumns": list(skip_columns)}
        made: PublicToken = inside.call(lambda: self._client().create_public_token(wanted)["token"])
        return made

    def create_trigger_public_token(
        self,
        task: Task | str | Iterable[Task | str],
        *,
        expiration: str | float | timedelta | datetime = "15m",
        multiple_use: bool = False,
    ) -> PublicToken:
        """A token that triggers a task, or one of several: once, unless `multiple_use`."""
        return self._for_tasks("trigger", task, expiration, multiple_use)

    def create_batch_trigger_public_token(
        self,
        task: Task | str | Iterable[Task | str],
        *,
        expiration: str | float | timedelta | datetime = "15m",
        multiple_use: bool = False,
    ) -> PublicToken:
        """A token that triggers a batch of runs of a task, or of several: once, unless `multiple_use`."""
        return self._for_tasks("batchTrigger", task, expiration, multiple_use)

    def with_token(self, token: str, api_url: str | None = None) -> AbstractContextManager[Client]:
        """Within `with auth.with_token(token):` this thread or coroutine calls the API with that token or key."""
        from sojourn.sdk.client import Client
        from sojourn.sdk.default_client import instead

        return instead(Client(api_url, token) if api_url else self._client().with_key(token))

    def _for_tasks(
        self, action: str, task: Any, expiration: str | float | timedelta | datetime, multiple_use: bool
    ) -> PublicToken:
        tasks = [task] if isinstance(task, str) or hasattr(task, "id") else several(task, "tasks")
        scopes = [f"{action}:tasks:{_task_id(each)}" for each in tasks]
        return self.create_public_token(scopes=scopes, expiration=expiration, one_time=not multiple_use)

    def _client(self) -> Client:
        from sojourn.sdk.default_client import default

        return self._given or default()


def flattened(scopes: Scopes, *, public: bool = False) -> list[str]:
    """Scopes as the API takes them, from either way to write them. `public`: of a public token, not of a key."""
    from sojourn.sdk.scope_words import is_meant, refusal

    flat = _flat(scopes)
    for each in flat:
        if not isinstance(each, str):
            raise ConfigurationError(f"{each!r:.80} is no scope: write texts like read:runs")
        if not is_meant(each, public=public):
            raise ConfigurationError(refusal(each, public=public))
    return flat


def _flat(scopes: Any) -> list[Any]:
    if not hasattr(scopes, "items"):
        return several(scopes, "scopes")
    flat: list[str] = []
    for action, types in scopes.items():
        if not hasattr(types, "items"):
            raise ConfigurationError(f'write scopes like {{"{action}": {{"runs": ["run_1"]}}}}')
        for type_, ids in types.items():
            those = [ids] if isinstance(ids, str) else ids
            flat += [f"{action}:{type_}"] if those is True else [f"{action}:{type_}:{each}" for each in those or ()]
    return flat


def _task_id(task: Any) -> str:
    return id_of(task, "task")


def time_of(value: Any) -> str:
    """A duration, seconds or a date, as the API takes it."""
    if hasattr(value, "isoformat"):
        if getattr(value, "tzinfo", None) is None:
            raise ConfigurationError(f"{value!r} is no moment: use a datetime with tzinfo=timezone.utc")
        return str(value.isoformat())
    from sojourn.sdk.trigger_options import seconds

    return f"{seconds(value)}s"


auth = Auth()
