"""What a first start makes and a later one finds again: the master key and the credentials file, both 0600."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from sojourn.control_plane.embedded.process import StartFailed
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.seal import Seal, new_master_key

MASTER_KEY, CREDENTIALS = "master.key", "credentials.json"


def master_key(data_dir: Path) -> str:
    """The data directory's master key, made when there is none."""
    path = data_dir / MASTER_KEY
    try:
        key = path.read_text().strip()
    except FileNotFoundError:
        key = new_master_key()
        write_private(path, key + "\n")
    try:
        Seal(key)
    except ValueError:
        raise StartFailed(f"{path} is damaged: put the backup of it there; what the database has sealed needs it") from None
    return key


def credentials(data_dir: Path, access: Access, api_url: str, now: datetime) -> dict[str, Any]:
    """The credentials of the installation, which is made when there is none; written to the data directory."""
    path = data_dir / CREDENTIALS
    known = _known(path)
    made = access.create_installation(now)
    token = made.personal_token or known.get("pat") or access.personal_tokens.create(made.organization_id, now)[1]
    found = {
        "api_url": api_url,
        "dashboard_url": api_url + "/",
        "project_ref": made.project_ref,
        "environments": {slug: {"secret_key": key} for slug, key in sorted(made.keys.items())},
        "pat": token,
    }
    write_private(path, json.dumps(found, indent=2) + "\n")
    return found


def _known(path: Path) -> dict[str, Any]:
    """What the last start wrote. All but the personal token is found again in the database; a new token can be made."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    except (FileNotFoundError, ValueError):
        return {}


def write_private(path: Path, text: str) -> None:
    """A file that nobody else may read, replaced whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.chmod(temporary, 0o600)
    os.replace(temporary, path)
