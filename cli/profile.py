"""Where the API is and which key opens it: the environment's variables, else the stack of the data directory."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from sojourn.sdk.client import Client
from sojourn.sdk.errors import ConfigurationError


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
    """Puts an environment's new root key into the file that the stack wrote; False where no such file is used."""
    path = data_dir(directory) / "credentials.json"
    found = credentials(path.parent)
    if os.environ.get("SOJOURN_SECRET_KEY") or found is None or environment not in found["environments"]:
        return False
    found["environments"][environment]["secret_key"] = secret
    _write(path, found)
    return True


def _write(path: Path, found: dict[str, Any]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent)  # which nobody else may read
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps(found, indent=2) + "\n")
    os.replace(temporary, path)


def client(environment: str, directory: str | None = None) -> Client:
    """A client for an environment of the stack, or for SOJOURN_API_URL and SOJOURN_SECRET_KEY."""
    url, key = os.environ.get("SOJOURN_API_URL"), os.environ.get("SOJOURN_SECRET_KEY")
    if key:
        return Client(url, key, source="cli")
    found = credentials(data_dir(directory))
    if found is None:
        raise ConfigurationError("nothing runs here yet: `sojourn up` starts it, or set SOJOURN_API_URL and _SECRET_KEY")
    keys = found["environments"]
    if environment not in keys:
        raise ConfigurationError(f"there is no environment {environment!r}: there are {', '.join(sorted(keys))}")
    return Client(url or found["api_url"], keys[environment]["secret_key"], source="cli")
