"""Deploying."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode

import falcon

from sojourn.control_plane.api import auth, body
from sojourn.control_plane.api.bodies import DeployBody
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.wiring import Platform

MAX_DEPLOY_BYTES = 72 * 1024 * 1024


class DeploymentsResource:
    """POST /api/v1/deployments"""

    def __init__(self, platform: Platform):
        self._platform = platform

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        platform = self._platform
        now = platform.clock()
        environment = auth.environment(request, platform.access, now)
        given = body.take(request, DeployBody, MAX_DEPLOY_BYTES)
        try:
            archive = b64decode(given.archive, validate=True)
        except (binascii.Error, ValueError):
            raise Problem("INVALID_BODY", "archive: is not base64", field="archive") from None
        made = platform.deployments.deploy(environment, given.manifest, given.contentHash, archive, now)
        answer = {
            "id": made.id,
            "version": made.version,
            "contentHash": made.content_hash,
            "tasks": made.tasks,
            "isCached": made.cached,
        }
        response.content_type = falcon.MEDIA_JSON
        response.data = json.dumps(answer).encode()


class CurrentDeploymentResource:
    """GET /api/v1/deployments/current"""

    def __init__(self, platform: Platform):
        self._platform = platform

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        platform = self._platform
        environment = auth.environment(request, platform.access, platform.clock())
        version = platform.versions.current(environment.id)
        if version is None:
            raise Problem("NO_DEPLOYMENT")
        tasks = [{"id": task.slug, "queue": task.queue, "machine": task.machine} for task in platform.versions.tasks(version.id)]
        answer = {
            "id": version.id,
            "version": version.number,
            "contentHash": version.content_hash,
            "status": "DEPLOYED",
            "createdAt": version.created_at.isoformat(),
            "tasks": tasks,
        }
        response.content_type = falcon.MEDIA_JSON
        response.data = json.dumps(answer).encode()
