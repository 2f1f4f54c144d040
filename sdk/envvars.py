"""`envvars`: the variables that runs of an environment get. Without a project and an environment, of the key's own.

In `async def` code (where an event loop runs in this thread) each call gives an awaitable.
"""

from __future__ import annotations

from sojourn.sdk import inside
from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping
    from os import PathLike
    from typing import Any

    from sojourn.sdk.client import Client

#: Stands for what the key opens.
_OWN = "current"


class EnvVar(Value):
    """A variable. A secret's value is shown to nobody but runs: here it reads `<redacted>`."""

    __slots__ = ("is_secret", "name", "value")
    name: str
    value: str
    is_secret: bool

    def __init__(self, name: str, value: str, is_secret: bool = False):
        self._keep(name, value, is_secret)

    if TYPE_CHECKING:  # in `async def` code an awaitable stands for it

        def __await__(self) -> Generator[Any, None, EnvVar]: ...


if TYPE_CHECKING:

    class EnvVarList(list[EnvVar]):
        """What `envvars.list` gives: a list, or in `async def` code an awaitable of one."""

        def __await__(self) -> Generator[Any, None, list[EnvVar]]: ...


class EnvVars:
    """`sojourn.envvars` uses the process's client, `EnvVars(client)` another."""

    def __init__(self, client: Client | None = None, *, project: str = _OWN, environment: str = _OWN):
        self._given = client
        self._place = {"project": project, "environment": environment}

    def list(self) -> EnvVarList:
        """Every variable, by name."""
        return self._call(lambda client: [_of(wire) for wire in client.list_variables(**self._place)])

    def retrieve(self, name: str) -> EnvVar:
        """A variable. `NotFoundError`."""
        return self._call(lambda client: _of(client.retrieve_variable(name, **self._place)))

    def create(self, name: str, value: str, *, secret: bool = False) -> Awaitable[None]:
        """Sets a variable; one that is there gets the new value. A secret stays one."""
        wire = {"name": name, "value": value, "isSecret": secret}
        return self._call(lambda client: _nothing(client.create_variable(wire, **self._place)))

    def update(self, name: str, value: str) -> Awaitable[None]:
        """Gives a variable another value. `NotFoundError`."""
        return self._call(lambda client: _nothing(client.update_variable(name, value, **self._place)))

    def delete(self, name: str) -> Awaitable[None]:
        """Runs get it no longer. `NotFoundError`."""
        return self._call(lambda client: _nothing(client.delete_variable(name, **self._place)))

    def upload(
        self, variables: Mapping[str, str] | str | PathLike[str], *, override: bool = False, secret: bool = False
    ) -> Awaitable[None]:
        """Sets many, all or none: a mapping, or the path of a dotenv file. `override`: those that are there change, too."""
        wire: dict[str, Any] = {"override": override, "isSecret": secret}

        def send(client: Client) -> None:
            given: Any = variables
            if not hasattr(variables, "keys"):
                with open(given, encoding="utf-8") as file:
                    given = file.read()
            client.import_variables({"variables": given, **wire}, **self._place)

        return self._call(send)

    def _call(self, ask: Callable[[Client], Any]) -> Any:
        from sojourn.sdk.default_client import default

        return inside.call(lambda: ask(self._given or default()))


def _of(wire: Mapping[str, Any]) -> EnvVar:
    return EnvVar(wire["name"], wire["value"], bool(wire["isSecret"]))


def _nothing(answer: object) -> None:
    """What a call gives that only does something."""


envvars = EnvVars()
