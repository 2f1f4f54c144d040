"""Deployments: a version is uploaded whole, in one request; the current one is shown."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

from sojourn.control_plane.api.bodies import DeployBody
from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.encoding import timestamp
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.tasks import external_id
from sojourn.control_plane.engine.deployments import Deployments as Deploying
from sojourn.control_plane.store.records import Task
from sojourn.control_plane.store.versions import Versions


class Deployments:
    """What can be done with an environment's versions."""

    def __init__(self, deploying: Deploying, versions: Versions):
        self._deploying = deploying
        self._versions = versions

    def deploy(self, call: Call) -> dict[str, Any]:
        """Stores a version and makes it current."""
        body: DeployBody = call.body
        try:
            archive = b64decode(body.archive, validate=True)
        except (binascii.Error, ValueError):
            raise Problem("BODY_INVALID", "archive: must be base64", field="archive") from None
        made = self._deploying.deploy(
            call.environment,
            body.manifest,
            body.contentHash,
            archive,
            call.now,
            image=body.image,
            external_id=external_id(body.externalId),
        )
        return {
            "id": made.id,
            "version": made.version,
            "contentHash": made.content_hash,
            "tasks": made.tasks,
            "isCached": made.cached,
        }

    def current(self, call: Call) -> dict[str, Any]:
        """The version that new runs start on, with its tasks."""
        version = self._versions.current(call.environment.id)
        if version is None:
            raise Problem("DEPLOYMENT_NOT_FOUND")
        return {
            "id": version.id,
            "status": "DEPLOYED",
            "version": version.number,
            "shortCode": version.content_hash[:8],
            "contentHash": version.content_hash,
            "runtime": "python",
            "runtimeVersion": version.python_version,
            "sdkVersion": version.sdk_version,
            **({"image": version.image} if version.image else {}),
            **({"externalId": version.external_id} if version.external_id else {}),
            "createdAt": timestamp(version.created_at),
            "deployedAt": timestamp(version.created_at),
            "tasks": [_task(task) for task in self._versions.tasks(version.id)],
        }


def _task(task: Task) -> dict[str, Any]:
    given = {
        "id": task.slug,
        "file": task.file_path,
        "export": task.export_name,
        "description": task.description,
        "queue": {"name": task.queue},
        "machine": task.machine,
        "retry": task.retry,
        "maxDuration": task.max_duration,
        "ttl": task.ttl_seconds,
        "payloadSchema": task.payload_schema,
        "freeze": task.may_freeze,
        "schedule": task.schedule,
    }
    return {name: value for name, value in given.items() if value is not None}
