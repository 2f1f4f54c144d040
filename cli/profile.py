"""Where the API is and which key opens it: the environment's variables, else the stack of the data directory."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from sojourn.cli.environment import Asked, asked, slug_of
from sojourn.sdk.client import Client
from sojourn.sdk.errors import ApiConnectionError, ConfigurationError, NotFoundError
from sojourn.sdk.exchange import Request, Response

#: How tokens of persons and of organizations begin: they open no environment, but its key.
_OF_PERSONS = ("tr_pat_", "tr_oat_")


class _Told(Client):
    """A client that says on a terminal that nobody has answered, once, as soon as it begins to try again."""

    _is_said = False

    def _send(self, request: Request) -> Response:
        try:
            return super()._send(request)
        except ApiConnectionError:
            if not self._is_said and sys.stderr.isatty():
                self._is_said = True
                click.echo(f"sojourn: no answer from {self.api_url} yet: trying again …", err=True)
            raise


def data_dir(given: str | None) -> Path:
    """The data directory: as given, SOJOURN_DATA_DIR, or the user's own."""
    if given or os.environ.get("SOJOURN_DATA_DIR"):
        return Path(given or os.environ["SOJOURN_DATA_DIR"]).expanduser().resolve()
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "sojourn"


def credentials(directory: Path) -> dict[str, Any] | None:
    """What the stack of a directory wrote, if it ever ran."""
    try:
        found: dict[str, Any] = json.loads((directory / "credentials.json").read_text())
        return found
    except (OSError, ValueError):
        return None


def remember_new(environment: str, secret: str, directory: str | None = None) -> bool:
    """Adds a new environment's root key to that file; False where no stack wrote one."""
    path = data_dir(directory) / "credentials.json"
    found = credentials(path.parent)
    if found is None:
        return False
    found["environments"].setdefault(environment, {"secret_key": secret})
    _write(path, found)
    return True


def remember(environment: str, secret: str, directory: str | None = None) -> bool:
    """Puts an environment's new root key into the file that the stack wrote; False where it is not that file's."""
    path = data_dir(directory) / "credentials.json"
    found = credentials(path.parent)
    if _exported("SECRET_KEY") or _exported("ACCESS_TOKEN") or found is None:
        return False
    slug = _known(found, environment, asked().project)
    if slug is None:
        return False
    found["environments"][slug]["secret_key"] = secret
    _write(path, found)
    return True


def _write(path: Path, found: dict[str, Any]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent)  # which nobody else may read
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps(found, indent=2) + "\n")
    os.replace(temporary, path)


def client(environment: str, directory: str | None = None) -> Client:
    """A client for an environment: by the key that is exported, by a personal token that is, or of the stack here.

    `ConfigurationError` where a key opens another environment than the one that was typed.
    """
    url, key = _exported("API_URL"), _exported("SECRET_KEY") or _exported("ACCESS_TOKEN")
    typed = asked()
    if key and key.startswith(_OF_PERSONS):
        return _by_token(url, key, typed.project or _exported("PROJECT_REF"), environment)
    if key:
        found = _Told(url, key, source="cli")
        _check(found, typed)
        return found
    return _of_stack(url, environment, typed.project, directory)


def name_of(client: Client, environment: str) -> str:
    """The environment that a client speaks to, for people: where a key is exported, that says which."""
    if not _key_is_exported():
        return slug_of(environment)
    return str(client.environment()["slug"])


def _of_stack(url: str | None, environment: str, project: str | None, directory: str | None) -> Client:
    found = credentials(data_dir(directory))
    if found is None:
        raise ConfigurationError("nothing runs here yet: `sojourn up` starts it, or set SOJOURN_API_URL and _SECRET_KEY")
    keys, address = found["environments"], url or found["api_url"]
    slug = _known(found, environment, project)
    if slug is not None:
        return _Told(address, keys[slug]["secret_key"], source="cli")
    if found.get("pat"):
        return _by_token(address, found["pat"], project or found.get("project_ref"), environment, known=sorted(keys))
    raise ConfigurationError(f"there is no environment {environment!r}: there are {', '.join(sorted(keys))}")


def _known(found: dict[str, Any], environment: str, project: str | None) -> str | None:
    """The slug under which the stack's file has an environment; None if it has not."""
    if project not in (None, found.get("project_ref")):
        return None
    return next((slug for slug in (environment, slug_of(environment)) if slug in found["environments"]), None)


def _by_token(url: str | None, token: str, project: str | None, environment: str, *, known: Sequence[str] = ()) -> Client:
    """A client with the root key of an environment, which is asked for with a personal or an organization's token.

    `known`: environments that there are, for whoever has mistyped one.
    """
    with closing(_Told(url, token, source="cli")) as person:
        ref = project or _only_project(person)
        try:
            told = person.request("GET", f"/api/v1/projects/{quote(ref, safe='')}/{quote(environment, safe='')}")
        except NotFoundError:
            there = f"there are {', '.join(known)}" if known else "correct --env or --project"
            projects = ", ".join(each["externalRef"] for each in _projects(person))
            raise ConfigurationError(
                f"there is no environment {environment!r} in the project {ref}: {there}; projects are {projects}"
            ) from None
    return _Told(url, told["apiKey"], source="cli")


def _only_project(person: Client) -> str:
    refs = [each["externalRef"] for each in _projects(person)]
    if len(refs) != 1:
        there = ", ".join(refs) or "none"
        raise ConfigurationError(f"which project? Name it by --project or SOJOURN_PROJECT_REF: there are {there}")
    return str(refs[0])


def _projects(person: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = person.request("GET", "/api/v1/projects")["data"]
    return found


def _check(client: Client, typed: Asked) -> None:
    """A key opens one environment; what was typed may not be another one, whose data the command would take for granted."""
    if not typed.words:
        return
    if client.has_token:
        raise ConfigurationError(f"a public token opens one environment: leave {typed.words} out, or unset the token")
    told = client.environment()
    slug, ref = told["slug"], told["project"]["ref"]
    is_environment = typed.environment is None or slug in (typed.environment, slug_of(typed.environment))
    if not is_environment or typed.project not in (None, ref):
        raise ConfigurationError(
            f"the key in SOJOURN_SECRET_KEY opens {slug} of {ref}, not {typed.words}: "
            "leave that out, export the other key, or unset SOJOURN_SECRET_KEY"
        )


def why_there() -> str | None:
    """Why commands speak to the API's default address, if that is for want of another one, and where the stack here is."""
    if _exported("API_URL") or not (_exported("SECRET_KEY") or _exported("ACCESS_TOKEN")):
        return None
    found = credentials(data_dir(None))
    here = f"; the stack here is at {found['api_url']}" if found else ""
    return f"SOJOURN_API_URL is not set, and that is its default{here}"


def _key_is_exported() -> bool:
    key = _exported("SECRET_KEY") or _exported("ACCESS_TOKEN")
    return bool(key) and not str(key).startswith(_OF_PERSONS)


def _exported(name: str) -> str | None:
    return os.environ.get(f"SOJOURN_{name}") or os.environ.get(f"TRIGGER_{name}") or None
