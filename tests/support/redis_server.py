"""A real Redis for tests: REDIS_URL's, or one of the embedded wheel's that lives as long as the session."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.postgres_server import absent


@contextmanager
def server() -> Iterator[str]:
    """The URL of a Redis that tests may empty."""
    if os.environ.get("REDIS_URL"):
        yield os.environ["REDIS_URL"]
        return
    try:
        from sojourn.control_plane.embedded.redis import EmbeddedRedis
    except ImportError as error:
        absent("Redis", error)
    with tempfile.TemporaryDirectory(prefix="sojourn-redis-") as directory:
        redis = EmbeddedRedis(Path(directory))
        redis.start()
        try:
            yield redis.url
        finally:
            redis.stop()
