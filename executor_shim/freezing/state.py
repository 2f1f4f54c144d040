"""What is kept beside criu's own files in an image: what the next sandbox must know of this one, and bytes under way."""

from __future__ import annotations

import base64
import json
import os

from sojourn.executor_shim.freezing.errors import CheckpointInvalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROCESS, _CHILD = "process.json", "child.json"
_FORMAT = 1
#: Names in an image's directory that are not of criu's files: a sandbox's private directories.
TREES = ("tmp", "shm")


def keep_process(directory: int, uid: int, pid: int, pipes: dict[int, str], address: str | None) -> None:
    """The user, the process's number inside, its pipes as criu names them by their number, its address."""
    told = {"format": _FORMAT, "uid": uid, "pid": pid, "address": address,
            "pipes": {str(number): name for number, name in pipes.items()}}  # fmt: skip
    _write(directory, _PROCESS, told)


def process_of(directory: str) -> dict[str, Any]:
    """The same; `CheckpointInvalid` if it is not there."""
    told = _read(directory, _PROCESS)
    return told | {"pipes": {int(number): name for number, name in told["pipes"].items()}}


def keep_child(directory: int, under_way: dict[str, bytes], notes: dict[str, Any]) -> None:
    """Bytes that one side has written and the other has not taken, by pipe, and what the shim knows of its child."""
    coded = {name: base64.b64encode(data).decode() for name, data in under_way.items() if data}
    _write(directory, _CHILD, {"format": _FORMAT, "underWay": coded, "notes": notes})


def child_of(directory: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The same; `CheckpointInvalid` if it is not there."""
    told = _read(directory, _CHILD)
    return {name: base64.b64decode(data) for name, data in told["underWay"].items()}, told["notes"]


def _write(directory: int, name: str, told: dict[str, Any]) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=directory)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(told, file)


def _read(directory: str, name: str) -> dict[str, Any]:
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as file:
            told: dict[str, Any] = json.load(file)
    except (OSError, ValueError) as error:
        raise CheckpointInvalid(f"{name} of the image cannot be read: {error}") from error
    if told.get("format") != _FORMAT:
        raise CheckpointInvalid(f"{name} of the image has the format {told.get('format')}, not {_FORMAT}")
    return told
