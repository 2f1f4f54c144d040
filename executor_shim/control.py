"""The shim's side of the worker API: one connection kept, calls sent again until the lease would be over."""

from __future__ import annotations

import http.client
import json
import socket
import time
import uuid
from typing import Any
from urllib.parse import urlsplit


class Refused(Exception):
    """The control plane will not have this executor, or this run, any more. `status` is HTTP's."""

    def __init__(self, status: int, text: str):
        super().__init__(f"{status}: {text}")
        self.status = status


class OutOfTouch(Exception):
    """No answer within the patience of a call."""


class Control:
    """One connection; each thread has its own Control."""

    def __init__(self, api_url: str, credential: str):
        parts = urlsplit(api_url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80)
        self._secure = parts.scheme == "https"
        self._headers = {"Authorization": f"Bearer {credential}", "Content-Type": "application/json"}
        self._connection: http.client.HTTPConnection | None = None

    def next(
        self, *, wait: float | None, served: int, completion: dict[str, Any] | None, patience: float
    ) -> dict[str, Any]:
        """Tells of the last attempt and asks for the next run."""
        body = {"wait": wait, "served": served, "request": uuid.uuid4().hex, "completion": completion}
        return self._persistently("/worker/v1/next", body, timeout=(wait or 0) + 30, patience=patience)

    def start(self, run: str, snapshot: int, token: str, patience: float) -> dict[str, Any]:
        """Begins the next attempt of a run that is tried again."""
        body = {"run": run, "snapshot": snapshot, "token": token}
        return self._persistently("/worker/v1/start", body, timeout=30, patience=patience)

    def heartbeat(self, run: str, snapshot: int, token: str, wait: float) -> dict[str, Any]:
        """One beat, and a wait for what happens to the run. `OSError` when nobody answers."""
        body = {"run": run, "snapshot": snapshot, "token": token, "wait": wait}
        return self._once("/worker/v1/heartbeat", body, timeout=wait + 10)

    def logs(self, run: str, snapshot: int, token: str, lines: list[dict[str, Any]]) -> None:
        """Sends log lines."""
        self._once("/worker/v1/logs", {"run": run, "snapshot": snapshot, "token": token, "lines": lines}, timeout=10)

    def version(self, content_hash: str) -> bytes:
        """A version's archive."""
        status, data = self._exchange("GET", f"/worker/v1/versions/{content_hash}", None, 60)
        if status != 200:
            raise Refused(status, data[:200].decode("utf-8", "replace"))
        return data

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _persistently(self, path: str, body: dict[str, Any], *, timeout: float, patience: float) -> dict[str, Any]:
        deadline, pause = time.monotonic() + patience, 0.05
        while True:
            try:
                return self._once(path, body, timeout)
            except Refused as error:
                if error.status < 500:
                    raise
                cause: Exception = error
            except (OSError, http.client.HTTPException, ValueError) as error:
                cause = error
            self.close()
            if time.monotonic() + pause > deadline:
                raise OutOfTouch(str(cause)) from cause
            time.sleep(pause)
            pause = min(pause * 2, 1.0)
            body = {**body, "again": True} if "served" in body else body

    def _once(self, path: str, body: dict[str, Any], timeout: float) -> dict[str, Any]:
        status, data = self._exchange("POST", path, json.dumps(body).encode(), timeout)
        if status != 200:
            raise Refused(status, data[:500].decode("utf-8", "replace"))
        answer = json.loads(data)
        if not isinstance(answer, dict):
            raise ValueError("an answer that is no object")
        return answer

    def _exchange(self, method: str, path: str, body: bytes | None, timeout: float) -> tuple[int, bytes]:
        connection = self._connect(timeout)
        try:
            connection.request(method, path, body, self._headers)
            answer = connection.getresponse()
            data = answer.read()
        except BaseException:
            self.close()
            raise
        if answer.will_close:
            self.close()
        return answer.status, data

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            connection = kind(self._host, self._port, timeout=timeout)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = connection
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(timeout)
        return self._connection
