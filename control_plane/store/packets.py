"""Payloads and outputs that lie in the object store: their names there, and which of them no run has any more.

`packets/<environment>/<id>.json` is written by the platform, once, and belongs to the runs that name it.
`uploads/<environment>/<path>` is a client's, who may write it anew; a trigger that names it copies it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.objects import checked

#: The type of a payload or an output whose text is the name of an object.
STORED = "application/store"
PACKETS, UPLOADS = "packets/", "uploads/"
_SUFFIXES = {"text/plain": "txt"}
_TYPES = {"txt": "text/plain"}
_JSON = "application/json"
#: A path has so few segments, and characters, that its name fits every store.
_SEGMENTS, _CHARS = 10, 800


class Packets:
    """What the database knows of them."""

    def __init__(self, database: Database):
        self._database = database

    def are_stored(self) -> bool:
        """Whether anything is known to be in the object store, images of checkpoints among it."""
        rows = self._database.rows(
            "SELECT EXISTS (SELECT FROM runs WHERE payload_type = 'application/store')"
            " OR EXISTS (SELECT FROM runs WHERE output_type = 'application/store')"
            " OR EXISTS (SELECT FROM checkpoints WHERE stored_at IS NOT NULL AND removed_at IS NULL) AS stored"
        )
        return bool(rows[0]["stored"])

    def gone(self, limit: int) -> list[str]:
        """Names that a run has lost, or whose run was deleted."""
        rows = self._database.rows("SELECT name FROM gone_packets ORDER BY name LIMIT %s", limit)
        return [str(row["name"]) for row in rows]

    def lost(self, names: Sequence[str]) -> None:
        """Those names may be done with."""
        self._database.rows("INSERT INTO gone_packets SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", list(names))

    def forget(self, names: Sequence[str]) -> None:
        """Those names are done with."""
        self._database.rows("DELETE FROM gone_packets WHERE name = ANY(%s)", list(names))

    def unused(self, names: Sequence[str]) -> set[str]:
        """Of those names, the ones that no run has.

        An environment that is not known here may be another installation's, in the same store: its are left alone.
        """
        rows = self._database.rows(
            "SELECT n.name FROM unnest(%s::text[]) AS n (name)"
            " WHERE EXISTS (SELECT FROM environments e WHERE e.id = split_part(n.name, '/', 2))"
            " AND NOT EXISTS (SELECT FROM runs r WHERE r.payload = n.name AND r.payload_type = 'application/store')"
            " AND NOT EXISTS (SELECT FROM runs r WHERE r.output = n.name AND r.output_type = 'application/store')",
            list(names),
        )
        return {str(row["name"]) for row in rows}


def packet_name(environment_id: str, packet_id: str, media_type: str) -> str:
    """Where a new packet goes; its suffix says its type."""
    return f"{PACKETS}{environment_id}/{packet_id}.{_SUFFIXES.get(media_type, 'json')}"


def upload_name(environment_id: str, path: str) -> str:
    """Where a client's upload is. `ValueError` unless the path is of plain segments: it never leaves its environment."""
    if len(path) > _CHARS or path.count("/") >= _SEGMENTS:
        raise ValueError(f"a path has at most {_CHARS} characters and {_SEGMENTS} segments")
    try:
        return checked(f"{UPLOADS}{environment_id}/{path}")
    except ValueError:
        raise ValueError(f"{path[:200]!r} is no path of an upload") from None


def served_type(name: str) -> str:
    """What whoever reads an object is told of it: a type that browsers show as it is, and do not run."""
    media_type = type_of(name)
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


def type_of(name: str) -> str:
    """The media type that a name's suffix says; JSON where it says none."""
    return _TYPES.get(name.rpartition(".")[2].lower(), _JSON)
