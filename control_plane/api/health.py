"""Whether the control plane lives, and whether it can work."""

from __future__ import annotations

import json

import falcon
import redis

from sojourn.control_plane.store import migrations
from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.control_plane.wiring import Platform


class HealthResource:
    """GET /healthz: the process answers."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = falcon.MEDIA_JSON
        response.data = b'{"status":"ok"}'


class ReadyResource:
    """GET /readyz: its parts answer too."""

    def __init__(self, platform: Platform):
        self._platform = platform

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        parts = {"database": self._database(), "queue": self._queue()}
        ready = all(state == "ok" for state in parts.values())
        response.status = falcon.HTTP_200 if ready else falcon.HTTP_503
        response.content_type = falcon.MEDIA_JSON
        response.data = json.dumps({"status": "ok" if ready else "unavailable", "parts": parts}).encode()

    def _database(self) -> str:
        try:
            current = migrations.current(self._platform.database)
        except StoreUnavailable:
            return "unreachable"
        return "ok" if current == migrations.latest() else f"schema {current}, this release has {migrations.latest()}"

    def _queue(self) -> str:
        try:
            self._platform.redis.ping()
        except redis.RedisError:
            return "unreachable"
        return "ok"
