"""What an operator does to limits and weights on the database itself: no key of one tenant may change another's share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from sojourn.control_plane.administration import environment_named
from sojourn.control_plane.config import SettingError
from sojourn.control_plane.domain.shares import BadShare
from sojourn.control_plane.engine.errors import EngineError
from sojourn.control_plane.wiring import Platform


def limits(platform: Platform, arguments: Sequence[str]) -> dict[str, Any]:
    """Lists or sets; `{data: organizations}`, as `Shares.all` tells them. `SettingError` for what cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m sojourn.control_plane limits")
    parser.add_argument("--do", choices=["list", "set"], required=True)
    parser.add_argument("--organization", help="its slug")
    parser.add_argument("--environment", help="its slug, or its id")
    parser.add_argument("--queue", help="of that environment")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--no-limit", action="store_true")
    parser.add_argument("--burst", type=float)
    parser.add_argument("--weight", type=float)
    parser.add_argument("--pause", action="store_const", const=True, dest="paused")
    parser.add_argument("--resume", action="store_const", const=False, dest="paused")
    given = parser.parse_args(arguments)
    if given.do == "set":
        try:
            _set(platform, given)
        except BadShare as error:
            raise SettingError(f"--{error}") from None
    return {"data": platform.shares.all()}


def _set(platform: Platform, given: argparse.Namespace) -> None:
    changes = {
        "concurrency_limit": given.limit, "burst": given.burst, "weight": given.weight, "paused": given.paused
    }  # fmt: skip
    changes = {name: value for name, value in changes.items() if value is not None}
    if given.no_limit:
        changes["concurrency_limit"] = None
    if not changes:
        raise SettingError("nothing to change: give --limit, --burst, --weight, --pause or --resume")
    if given.organization:
        _of_organization(platform, given.organization, changes)
    elif given.queue:
        _of_queue(platform, given, changes)
    else:
        if "concurrency_limit" in changes and changes["concurrency_limit"] is None:
            raise SettingError("--no-limit: an environment has a limit; a large one is as good")
        environment = environment_named(platform, given.environment)
        platform.shares.change_environment(environment, changes, platform.clock())


def _of_organization(platform: Platform, slug: str, changes: dict[str, Any]) -> None:
    organization = platform.access.organization(slug)
    if organization is None:
        raise SettingError(f"there is no organization {slug!r}: `sojourn limits list` shows them")
    if changes.keys() - {"concurrency_limit", "weight"}:
        raise SettingError("an organization has a limit and a weight: --burst, --pause and --resume are an environment's")
    platform.shares.change_organization(organization, changes, platform.clock())


def _of_queue(platform: Platform, given: argparse.Namespace, changes: dict[str, Any]) -> None:
    if changes.keys() != {"weight"}:
        raise SettingError("here a queue is given a weight alone: `sojourn queues limit` and `pause` do the rest")
    environment = environment_named(platform, given.environment)
    try:
        platform.shares.weigh_queue(environment, given.queue, given.weight, platform.clock())
    except EngineError as error:
        raise SettingError(f"{given.queue!r}: {error}") from None
