"""The shim inside a Nomad allocation: who it is, and how it becomes an executor.

Nomad's environment and the job's meta name the executor; a file that root alone reads holds what the cluster signed. That
is swapped, once, for the executor's credential and settings, and taken away.
"""

from __future__ import annotations

import os
import threading

from sojourn.executor_shim.control import Control
from sojourn.executor_shim.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: The name of the identity in the job, which Nomad makes a file's name of.
IDENTITY = "sojourn"
#: Seconds that a swap is tried for: a scheduler may have to fetch a new key first.
PATIENCE = 30.0


class Swap:
    """`settings_of`, begun by a thread of its own."""

    def __init__(self, environment: Mapping[str, str]):
        self._environment = environment
        self._settings: Settings | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._try, name="swap", daemon=True)
        self._thread.start()

    def settings(self) -> Settings:
        """Waits for them; what it failed with is raised here."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        assert self._settings is not None
        return self._settings

    def _try(self) -> None:
        try:
            self._settings = settings_of(self._environment)
        except Exception as error:
            self._failure = error


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings of the executor that this allocation is.

    `Refused` when it is none, or no longer; `OutOfTouch` when nobody answers; `ValueError` when Nomad's environment, or
    the identity, is not there.
    """
    try:
        executor, secrets = environment["NOMAD_META_executor"], environment["NOMAD_SECRETS_DIR"]
        api_url, versions_dir = environment["SOJOURN_API_URL"], environment["SOJOURN_VERSIONS_DIR"]
    except KeyError as error:
        raise ValueError(f"this is no allocation of Sojourn's: {error.args[0]} is not set") from None
    path = os.path.join(secrets, f"nomad_{IDENTITY}.jwt")
    try:
        with open(path, encoding="ascii") as file:
            identity = file.read().strip()
    except OSError as error:
        raise ValueError(f"the workload identity cannot be read: {error.strerror}") from None
    control = Control(api_url, identity)
    try:
        answer = control.identity(executor, PATIENCE)
    finally:
        control.close()
    _remove(path)
    given = {name: value for name, value in dict(answer["settings"]).items() if name in Settings.__slots__}
    given |= {
        "api_url": api_url,
        "versions_dir": versions_dir,
        "executor": executor,
        "credential": str(answer["credential"]),
        "driver": environment.get("SOJOURN_DRIVER", ""),
    }
    given["sandbox"] = _without(given.get("sandbox", "auto"), environment.get("SOJOURN_DENIED", ""))
    return Settings(**given)


def _without(sandbox: Any, denied: str) -> Any:
    """The sandbox's options with the cluster's own addresses denied, but for those that are allowed by name."""
    if sandbox == "off" or not denied:
        return sandbox
    options: dict[str, Any] = {"mode": sandbox} if isinstance(sandbox, str) else dict(sandbox)
    more = [each for each in denied.split(",") if each not in options.get("allow", ())]
    return options | {"deny": [*options.get("deny", ()), *more]}


def _remove(path: str) -> None:
    """It has been used: nothing that runs here later is to find it."""
    try:
        os.unlink(path)
    except OSError:
        return
