"""Gunicorn's settings: gevent workers, so that long polls are cheap; PostgreSQL's driver is made to yield, too."""

from __future__ import annotations

import os
import resource
from typing import Any

worker_class = "sojourn.control_plane.embedded.gunicorn_worker.Worker"
workers = int(os.environ.get("SOJOURN_WEB_WORKERS", "2"))
worker_connections = 2_000
bind = f"{os.environ.get('SOJOURN_HOST', '127.0.0.1')}:{os.environ.get('SOJOURN_PORT', '3030')}"
keepalive = 75
graceful_timeout = 5
timeout = 60
backlog = 1_024
limit_request_field_size = 16_384
#: Files, and connections to PostgreSQL, Redis and the object store.
_OTHER_DESCRIPTORS = 1_000
# Filters of lists may be long.
limit_request_line = 8_190
accesslog = None
loglevel = "warning"


def post_fork(server: Any, worker: Any) -> None:
    """After gevent has patched the standard library, before anything connects."""
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()
    _allow_descriptors(worker_connections + _OTHER_DESCRIPTORS)


def _allow_descriptors(count: int) -> None:
    """A worker that takes all of its connections needs more than the 1,024 that a process has by default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def post_worker_init(worker: Any) -> None:
    """When the worker is told to leave, its long polls are answered first; nobody waits for them to run out.

    It also leaves when gunicorn's main process was killed.
    """
    import gevent

    def watch() -> None:
        while worker.alive and not worker.is_orphan:
            gevent.sleep(0.1)
        worker.alive = False
        worker.wsgi.interrupt()

    gevent.spawn(watch)


def worker_exit(server: Any, worker: Any) -> None:
    """The last notices of a worker that leaves are sent before it does."""
    served = getattr(worker, "wsgi", None)
    if served is not None:
        served.close()
