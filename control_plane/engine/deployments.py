"""Deploying: a version out of a manifest and an archive, made current; runs that waited for it are let go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sojourn.control_plane.domain import ids, manifest
from sojourn.control_plane.engine.errors import ArchiveInvalid, DeploymentNotFound, DeploymentOlder, ManifestInvalid
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.limits import Limiting
from sojourn.control_plane.engine.schedules import Schedules
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Environment, Version
from sojourn.control_plane.store.runs import Runs
from sojourn.control_plane.store.versions import Versions

_RELEASE_AT_ONCE = 200


class ArchiveStore:
    """Archives by the hash of their tree, in a directory; written whole or not at all."""

    def __init__(self, directory: Path):
        self._directory = directory

    def put(self, content_hash: str, archive: bytes) -> None:
        """Keeps an archive; one of the same hash is the same."""
        path = self._path(content_hash)
        if path.exists():
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._directory)
        with os.fdopen(handle, "wb") as file:
            file.write(archive)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def get(self, content_hash: str) -> bytes | None:
        """The archive of that tree."""
        path = self._path(content_hash)
        return path.read_bytes() if path.exists() else None

    def _path(self, content_hash: str) -> Path:
        if len(content_hash) != 64 or not set(content_hash) <= set("0123456789abcdef"):
            raise ArchiveInvalid("a content hash has 64 hexadecimal digits", field="contentHash")
        return self._directory / f"{content_hash}.zip"


@dataclass(frozen=True, slots=True)
class Deployed:
    """`cached`: the same content was current already, so that no new version was made."""

    id: str
    version: str
    content_hash: str
    tasks: list[str]
    cached: bool


class Deployments:
    """`verify` gives the hash of an archive's tree, or raises ValueError for one that must not be unpacked."""

    def __init__(
        self,
        database: Database,
        versions: Versions,
        runs: Runs,
        index: Index,
        archives: ArchiveStore,
        limiting: Limiting,
        schedules: Schedules,
        verify: Callable[[bytes], str],
        random: Callable[[int], bytes] = os.urandom,
    ):
        self._database = database
        self._versions = versions
        self._runs = runs
        self._index = index
        self._archives = archives
        self._limiting = limiting
        self._schedules = schedules
        self._verify = verify
        self._random = random

    def deploy(
        self,
        environment: Environment,
        given: Mapping[str, Any],
        content_hash: str,
        archive: bytes,
        now: datetime,
        *,
        image: str | None = None,
        external_id: str | None = None,
    ) -> Deployed:
        """Stores a version and makes it current. `ManifestInvalid` and `ArchiveInvalid` name the field.

        `external_id`: a name for it; runs that were triggered for that name, and wait, are let go.
        """
        try:
            parsed = manifest.parse(given)
        except manifest.Invalid as error:
            raise ManifestInvalid(str(error), field=f"manifest.{error.path}") from None
        self._check_archive(content_hash, archive)
        self._archives.put(content_hash, archive)
        with self._database.transaction():
            self._versions.lock_environment(environment.id)
            deployed = self._same_as_current(environment, parsed, content_hash, image, external_id) or self._insert(
                environment, parsed, content_hash, image, external_id, now
            )
        if deployed.cached:
            self._release(environment, now)
        else:
            self._tell(environment, now)
        return deployed

    def promote(self, environment: Environment, name: str, now: datetime, *, allow_older: bool = False) -> Version:
        """New runs start on that version (its number or id) from now on, and the schedules are those that it declares.

        `DeploymentNotFound`; `DeploymentOlder` for one that is older than the current one, unless that is allowed. Limits
        of queues stay as the newest deployment has declared them.
        """
        with self._database.transaction():
            self._versions.lock_environment(environment.id)
            version = self._versions.named(environment.id, name)
            if version is None:
                raise DeploymentNotFound
            current = self._versions.current(environment.id)
            if current is not None and version.id == current.id:
                return version
            if current is not None and _order(version) < _order(current) and not allow_older:
                raise DeploymentOlder(
                    f"{version.number} is older than {current.number}, the current version",
                    next_step="send `allowRollbacks=true` to go back to it",
                )
            self._versions.make_current(environment.id, version.id)
            self._schedules.declare(environment, self._versions.tasks(version.id), now)
        self._tell(environment, now)
        return version

    def archive(self, content_hash: str) -> bytes | None:
        """The archive that executors fetch."""
        return self._archives.get(content_hash)

    def _tell(self, environment: Environment, now: datetime) -> None:
        """Another version is current: whoever has to know is told."""
        self._limiting.push(environment.organization_id, now)
        self._index.ring("keeper")
        self._index.ring("ticker")
        self._index.ring("opener")
        self._release(environment, now)

    def _check_archive(self, content_hash: str, archive: bytes) -> None:
        try:
            found = self._verify(archive)
        except ValueError as error:
            raise ArchiveInvalid(str(error), field="archive") from None
        if found != content_hash:
            raise ArchiveInvalid(f"the archive's tree hashes to {found}", field="contentHash")

    def _same_as_current(
        self,
        environment: Environment,
        parsed: manifest.Manifest,
        content_hash: str,
        image: str | None,
        external_id: str | None,
    ) -> Deployed | None:
        current = self._versions.current(environment.id)
        if current is None or (current.content_hash, current.image) != (content_hash, image):
            return None
        if external_id is not None and external_id != current.external_id:
            return None
        there = {task.slug: task.schedule for task in self._versions.tasks(current.id)}
        if there != {task["slug"]: task["schedule"] for task in parsed.tasks}:
            return None
        return Deployed(current.id, current.number, content_hash, [task["slug"] for task in parsed.tasks], cached=True)

    def _insert(
        self,
        environment: Environment,
        parsed: manifest.Manifest,
        content_hash: str,
        image: str | None,
        external_id: str | None,
        now: datetime,
    ) -> Deployed:
        version = Version(
            id=self._id("deployment", now),
            environment_id=environment.id,
            number=self._versions.next_number(environment.id, now),
            content_hash=content_hash,
            sdk_version=parsed.sdk,
            python_version=parsed.python,
            image=image,
            created_at=now,
            external_id=external_id,
        )
        self._versions.insert(version, parsed.tasks)
        self._versions.declare_queues(environment.id, [{"id": self._id("queue", now), **queue} for queue in parsed.queues])
        self._versions.make_current(environment.id, version.id)
        self._schedules.declare(environment, self._versions.tasks(version.id), now)
        return Deployed(version.id, version.number, content_hash, [task["slug"] for task in parsed.tasks], cached=False)

    def _release(self, environment: Environment, now: datetime) -> None:
        while True:
            moved = self._runs.release_versioned(environment.id, now, _RELEASE_AT_ONCE)
            self._index.settled(moved, now)
            if len(moved) < _RELEASE_AT_ONCE:
                return

    def _id(self, prefix: str, now: datetime) -> str:
        return ids.make(prefix, now, self._random(ids.RANDOM_BYTES))


def _order(version: Version) -> tuple[int, ...]:
    return tuple(int(part) for part in version.number.split("."))
