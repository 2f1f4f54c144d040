"""Deployments: a version is uploaded whole, in one request; versions are listed, shown, made current again."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.cursor import Cursors
from sojourn.control_plane.api.encoding import given, timestamp
from sojourn.control_plane.api.filter_values import values
from sojourn.control_plane.api.models.deployments import DeployBody
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.runs import filters_told, span_of
from sojourn.control_plane.api.tasks import external_id
from sojourn.control_plane.engine.deployments import Deployments as Deploying
from sojourn.control_plane.store.records import Task, Version
from sojourn.control_plane.store.versions import Versions

PREFIX = "deployment"
#: A version is deployed whole, or not at all.
_STATUS = "DEPLOYED"


class Deployments:
    """What can be done with an environment's versions."""

    def __init__(self, deploying: Deploying, versions: Versions, cursors: Cursors):
        self._deploying = deploying
        self._versions = versions
        self._cursors = cursors

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
            **_item(version, True),
            "contentHash": version.content_hash,
            "sdkVersion": version.sdk_version,
            **({"image": version.image} if version.image else {}),
            **({"externalId": version.external_id} if version.external_id else {}),
            "tasks": [_task(task) for task in self._versions.tasks(version.id)],
        }

    def page(self, call: Call) -> dict[str, Any]:
        """A page of versions, newest first."""
        environment, query = call.environment, call.query
        told = filters_told(query)
        after = self._cursors.read(environment.id, query.after, "page[after]", PREFIX, told) if query.after else None
        since, until = span_of(query.since, query.until, query.period, call.now, _bad)
        statuses = values(query.status, "status")
        if statuses and _STATUS not in statuses:
            return {"data": [], "pagination": {}}
        found, more = self._versions.page(
            environment.id, after=after, created_from=since, created_to=until, size=query.size
        )
        following = {"next": self._cursors.make(environment.id, found[-1].id, told)} if more else {}
        current = self._versions.current(environment.id)
        shown = [_item(version, current is not None and version.id == current.id) for version in found]
        return {"data": shown, "pagination": following}

    def retrieve(self, call: Call, deployment: str) -> dict[str, Any]:
        """A version, by its id or number, as tools that have deployed it ask for it."""
        version = self._versions.named(call.environment.id, deployment)
        if version is None:
            raise Problem("DEPLOYMENT_NOT_FOUND", "There is no such deployment in this environment.")
        tasks = [
            {
                "id": f"{version.id}/{task.slug}",
                "slug": task.slug,
                "filePath": task.file_path,
                "exportName": task.export_name,
            }
            for task in self._versions.tasks(version.id)
        ]
        return {
            "id": version.id,
            "status": _STATUS,
            "contentHash": version.content_hash,
            "shortCode": version.content_hash[:8],
            "version": version.number,
            **({"imageReference": version.image} if version.image else {}),
            "imagePlatform": "linux",
            "worker": {"id": version.id, "version": version.number, "tasks": tasks},
        }

    def promote(self, call: Call, deployment: str) -> dict[str, Any]:
        """Makes a version current that was deployed before."""
        allowed = call.query.allowRollbacks == "true"
        version = self._deploying.promote(call.environment, deployment, call.now, allow_older=allowed)
        return {"id": version.id, "version": version.number, "shortCode": version.content_hash[:8]}


def _bad(name: str, why: str) -> Problem:
    return Problem("QUERY_INVALID", f"{why}.", field=name)


def _item(version: Version, is_current: bool) -> dict[str, Any]:
    return {
        "id": version.id,
        "status": _STATUS,
        "version": version.number,
        "shortCode": version.content_hash[:8],
        "isCurrent": is_current,
        "runtime": "python",
        "runtimeVersion": version.python_version,
        "createdAt": timestamp(version.created_at),
        "deployedAt": timestamp(version.created_at),
    }


def _task(task: Task) -> dict[str, Any]:
    wire = {
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
    return given(wire)
