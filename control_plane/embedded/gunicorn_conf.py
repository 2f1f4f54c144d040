"""Gunicorn's settings: gevent workers, so that long polls are cheap; PostgreSQL's driver is made to yield, too."""

from __future__ import annotations

import os
from typing import Any

worker_class = "gevent"
workers = int(os.environ.get("SOJOURN_WEB_WORKERS", "2"))
worker_connections = 2_000
bind = f"{os.environ.get('SOJOURN_HOST', '127.0.0.1')}:{os.environ.get('SOJOURN_PORT', '3030')}"
keepalive = 75
graceful_timeout = 5
timeout = 60
backlog = 1_024
limit_request_field_size = 16_384
# Filters of lists may be long.
limit_request_line = 8_190
accesslog = None
loglevel = "warning"


def post_fork(server: Any, worker: Any) -> None:
    """After gevent has patched the standard library, before anything connects."""
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()


def post_worker_init(worker: Any) -> None:
    """When the worker is told to leave, its long polls are answered first; nobody waits for them to run out."""
    import gevent

    def watch() -> None:
        while worker.alive:
            gevent.sleep(0.1)
        worker.wsgi.interrupt()

    gevent.spawn(watch)


def worker_exit(server: Any, worker: Any) -> None:
    """The last notices of a worker that leaves are sent before it does."""
    served = getattr(worker, "wsgi", None)
    if served is not None:
        served.close()
