"""What an operator does to environments on the database itself: each is a tenant's, so that no key of one makes another."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from sojourn.control_plane.api.naming import CURRENT, slug_of
from sojourn.control_plane.config import SettingError
from sojourn.control_plane.store.records import Environment, Project
from sojourn.control_plane.wiring import Platform

KINDS = ("development", "staging", "production", "preview")
#: Kinds that names say by themselves.
_KIND_OF = {"dev": "development", "staging": "staging", "prod": "production", "preview": "preview"}
_SLUG = re.compile(r"[a-z][a-z0-9-]{0,31}")
#: Their keys would look like tokens, or addresses mean something else by them.
_TAKEN = frozenset({"pat", "oat", "sk", CURRENT})


def environments(platform: Platform, arguments: Sequence[str]) -> dict[str, Any]:
    """Lists (`{data}`) or creates (the new one, its root `key` with it). `SettingError` for what cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m sojourn.control_plane environments")
    parser.add_argument("--do", choices=["list", "create"], required=True)
    parser.add_argument("--name", default="", help="create: its slug")
    parser.add_argument("--kind", choices=KINDS, help="create: what it is for; absent: what its name says, else staging")
    parser.add_argument("--project", default="default", help="create: the project's slug or ref")
    parser.add_argument("--limit", type=int, default=100, help="create: runs at once")
    given = parser.parse_args(arguments)
    if given.do == "create":
        return _create(platform, given)
    found = [each for owner in platform.versions.organizations() for each in platform.access.environments(owner)]
    return {"data": [_shown(each) for each in found]}


def _create(platform: Platform, given: argparse.Namespace) -> dict[str, Any]:
    _check(given.name)
    project, now = _project(platform, given.project), platform.clock()
    kind = (given.kind or _KIND_OF.get(given.name, "staging")).upper()
    made = platform.access.add_environment(project, given.name, kind, now)
    if made is None:
        raise SettingError(f"the project {project.slug} has an environment {given.name!r} already")
    environment_id, key = made
    environment = platform.access.environment(environment_id, now)
    assert environment is not None
    platform.shares.change_environment(environment, {"concurrency_limit": given.limit}, now)
    return {**_shown(environment), "key": key}


def _check(slug: str) -> None:
    if slug_of(slug) != slug:
        raise SettingError(f"{slug!r} is another word for {slug_of(slug)!r}: take that, or another name")
    if not _SLUG.fullmatch(slug) or slug in _TAKEN:
        raise SettingError(f"{slug[:40]!r} is no name for an environment: write up to 32 of a-z, 0-9 and -, a letter first")


def _project(platform: Platform, named: str) -> Project:
    known = [each for owner in platform.versions.organizations() for each in platform.access.projects(owner)]
    found = [project for project in known if named in (project.slug, project.ref)]
    if len(found) != 1:
        there = "there is no" if not found else "there are several with the name"
        refs = ", ".join(f"{project.slug} ({project.ref})" for project in known)
        raise SettingError(f"{there} project {named!r}: name one by --project, of {refs}")
    return found[0]


def _shown(environment: Environment) -> dict[str, Any]:
    return {
        "id": environment.id,
        "slug": environment.slug,
        "type": environment.type,
        "paused": environment.paused,
        "project": {"slug": environment.project_slug, "ref": environment.project_ref},
        "organization": {"slug": environment.organization_slug},
    }
