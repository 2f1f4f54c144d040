"""What the environment of a process says: by Sojourn's own names, or by those that existing projects have set."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def named(name: str) -> str | None:
    """A variable, `SOJOURN_…` before `TRIGGER_…`; None where neither has a text."""
    return os.environ.get(f"SOJOURN_{name}") or os.environ.get(f"TRIGGER_{name}") or None


def named_key() -> str | None:
    """A secret key, or a public token in its place."""
    return named("SECRET_KEY") or named("ACCESS_TOKEN")


def of_version(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Trigger options, with the version or the deployment that the environment names, unless they say which.

    For runs that nobody waits for: one that a run waits for has that run's version.
    """
    if "version" in options or "external_deployment_id" in options:
        return options
    version = named("VERSION")
    if version is not None:
        return {**options, "version": version}
    external = named("EXTERNAL_DEPLOYMENT_ID")
    return options if external is None else {**options, "external_deployment_id": external}
