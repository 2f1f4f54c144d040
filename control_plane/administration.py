"""What an operator does to keys and tokens on the database itself: for whoever has lost the key, or has none yet."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane.api.encoding import timestamp
from sojourn.control_plane.api.keys import shown
from sojourn.control_plane.config import SettingError
from sojourn.control_plane.domain import duration, scopes
from sojourn.control_plane.engine.errors import EngineError
from sojourn.control_plane.engine.keys import GRACE, MAX_KEYS
from sojourn.control_plane.store.records import Environment, PersonalToken
from sojourn.control_plane.wiring import Platform
from sojourn.sdk import scope_words


def keys(platform: Platform, arguments: Sequence[str]) -> dict[str, Any]:
    """Does something to an environment's secret keys; what it says as JSON. `SettingError` for what cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m sojourn.control_plane keys")
    parser.add_argument("--do", choices=_ACTIONS, required=True)
    parser.add_argument("--environment", help="the environment's slug, or its id")
    parser.add_argument("--key", help="the id of the key; rotate: the root key unless given")
    parser.add_argument("--name", help="create: a name")
    parser.add_argument("--scope", action="append", help="create: what it may do; may be given again")
    parser.add_argument("--expires", help="create: when it ends, as a duration or a date")
    parser.add_argument("--grace", help="rotate: how long the old one opens, 24h unless given")
    given, now = parser.parse_args(arguments), platform.clock()
    environment = environment_named(platform, given.environment)
    try:
        return _ACTIONS[given.do](platform, environment, given, now)
    except (EngineError, duration.BadTime) as error:
        raise SettingError(str(error)) from None


def tokens(platform: Platform, arguments: Sequence[str]) -> dict[str, Any]:
    """The same for the tokens of an organization and its people."""
    parser = argparse.ArgumentParser(prog="python -m sojourn.control_plane tokens")
    parser.add_argument("--do", choices=["list", "create", "revoke"], required=True)
    parser.add_argument("--organization", default="default", help="the organization's slug")
    parser.add_argument("--kind", choices=["personal", "organization"], default="personal", help="create: whose")
    parser.add_argument("--name", help="create: a name")
    parser.add_argument("--expires", help="create: when it ends, as a duration or a date")
    parser.add_argument("--token", default="", help="revoke: the id of the token")
    given, now = parser.parse_args(arguments), platform.clock()
    organization = platform.access.organization(given.organization)
    if organization is None:
        raise SettingError(f"there is no organization {given.organization!r}: name one by --organization")
    kept = platform.access.personal_tokens
    if given.do == "list":
        return {"data": [_token(token) for token in kept.all(organization, MAX_KEYS)]}
    if given.do == "create":
        made, secret = kept.create(organization, now, kind=given.kind, name=given.name, until=_end(given.expires, now))
        return {**_token(made), "token": secret}
    gone = kept.revoke(organization, given.token, now)
    if gone is None:
        raise SettingError("there is no such token: `list` shows what there is")
    return _token(gone)


def _list(platform: Platform, environment: Environment, given: argparse.Namespace, now: datetime) -> dict[str, Any]:
    return {"data": [shown(key, now) for key in platform.keys.list(environment, now)]}


def _show(platform: Platform, environment: Environment, given: argparse.Namespace, now: datetime) -> dict[str, Any]:
    """The root key, which alone can be read again."""
    return {"key": platform.access.keys.root(environment.id, now)}


def _create(platform: Platform, environment: Environment, given: argparse.Namespace, now: datetime) -> dict[str, Any]:
    unknown = [scope for scope in given.scope or () if not scopes.is_known(scope)]
    if unknown:
        raise SettingError(scope_words.refusal(unknown[0], public=False))
    until = _end(given.expires, now)
    made = platform.keys.create(environment, now, name=given.name, granted=given.scope, until=until)
    return {**shown(made.key, now), "key": made.secret}


def _rotate(platform: Platform, environment: Environment, given: argparse.Namespace, now: datetime) -> dict[str, Any]:
    grace = timedelta(seconds=duration.seconds(given.grace)) if given.grace else GRACE
    made = platform.keys.rotate(environment, given.key or _root(platform, environment, now), grace, now)
    return {**shown(made.key, now), "key": made.secret}


def _revoke(platform: Platform, environment: Environment, given: argparse.Namespace, now: datetime) -> dict[str, Any]:
    return shown(platform.keys.revoke(environment, given.key or "", now), now)


def _root(platform: Platform, environment: Environment, now: datetime) -> str:
    return next(key.id for key in platform.keys.list(environment, now) if key.is_root and key.replaced_by is None)


def environment_named(platform: Platform, named: str | None) -> Environment:
    """An environment by its id, or by its slug where only one has it. `SettingError`."""
    found = [
        environment
        for organization in platform.versions.organizations()
        for environment in platform.access.environments(organization)
        if named in (environment.id, environment.slug)
    ]
    if len(found) != 1:
        there = "there is no" if not found else "there are several with the name"
        raise SettingError(f"{there} environment {named!r}: name one by --env, by its id if need be")
    return found[0]


def _end(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        until = duration.ahead(text, now)
    except duration.BadTime as error:
        raise SettingError(f"--expires: {error}") from None
    if until is None or until <= now:
        raise SettingError("--expires: that is over already")
    return until


def _token(token: PersonalToken) -> dict[str, Any]:
    dates = {
        "createdAt": token.created_at,
        "expiresAt": token.expires_at,
        "lastUsedAt": token.last_used_at,
        "revokedAt": token.revoked_at,
    }
    wire = {"id": token.id, "hint": token.hint, "kind": token.kind, "name": token.name}
    wire |= {name: timestamp(date) for name, date in dates.items() if date is not None}
    return {name: value for name, value in wire.items() if value is not None}


_ACTIONS = {"list": _list, "show": _show, "create": _create, "rotate": _rotate, "revoke": _revoke}
