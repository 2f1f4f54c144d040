"""`python -m sojourn.control_plane stack | migrate | fsck | doctor | code | keys | …`: what the command line starts.

Exit codes: 0 done; 1 something was found; 2 the settings or the machine do not allow it.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from dataclasses import asdict, replace
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import redis

from sojourn.control_plane.config import Config, SettingError, load
from sojourn.control_plane.embedded import credentials
from sojourn.control_plane.embedded.data_dir import DataDir, DataDirError, StackRuns
from sojourn.control_plane.embedded.process import StartFailed, tie_to_parent
from sojourn.control_plane.embedded.stack import Stack, StartInterrupted
from sojourn.control_plane.store.database import Database, StoreUnavailable
from sojourn.control_plane.store.migrations import SchemaTooNew, migrate
from sojourn.control_plane.store.seal import SealBroken

_LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_LOG_BYTES = 1024 * 1024
_ADMINISTERED = ("keys", "tokens", "limits", "environments")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command."""
    parser = argparse.ArgumentParser(prog="python -m sojourn.control_plane", description=__doc__)
    parser.add_argument("command", choices=list(_COMMANDS))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--ready-fd", type=int, help="where the stack says that it is ready, as one line of JSON")
    parser.add_argument("--tied", action="store_true", help="stack: end when the process that started it is gone")
    parser.add_argument("--nomad", action="store_true", help="stack: executors are Nomad jobs")
    parser.add_argument("--repair", action="store_true", help="fsck: sweep first")
    given, rest = parser.parse_known_args(arguments)
    given.rest = rest
    if given.rest and given.command not in _ADMINISTERED:
        parser.error(f"there is no {given.rest[0]}")
    try:
        config = load(**_given(given))
        return _COMMANDS[given.command](config, given)
    except (SettingError, DataDirError, StartFailed, SchemaTooNew) as error:
        return _fail(str(error), given.ready_fd)
    except SealBroken:
        return _fail("the database was sealed with another master key: restore master.key, or set SOJOURN_MASTER_KEY")
    except StoreUnavailable as error:
        return _fail(f"PostgreSQL cannot be reached ({str(error).splitlines()[0]}): correct DATABASE_URL", given.ready_fd)
    except redis.RedisError as error:
        return _fail(f"Redis cannot be reached ({error}): correct REDIS_URL", given.ready_fd)


def _given(given: argparse.Namespace) -> dict[str, Any]:
    """Settings that the command line has of its own."""
    named = {"port": given.port, "placement": "nomad" if given.nomad else None}
    return {name: value for name, value in named.items() if value is not None}


def _stack(config: Config, given: argparse.Namespace) -> int:
    logging.basicConfig(level=config.log_level.upper(), format=_LOG_FORMAT)
    if given.tied:
        tie_to_parent(signal.SIGTERM)
    data_dir = DataDir(given.data_dir or Path(config.data_dir or "."))
    try:
        data_dir.open()
    except StackRuns as running:
        if running.state is None:
            raise DataDirError(f"a stack is being started or stopped on {data_dir.path}: try again when it is") from None
        _tell(given.ready_fd, {"running": running.state})
        return 2
    _log_to(data_dir.path / "logs" / "stack.log")
    stack = Stack(config, data_dir)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stack.ask_to_stop())
    try:
        _tell(given.ready_fd, {"ready": stack.start()})
        stack.watch()
    except StartInterrupted:
        return 0
    finally:
        stack.stop()
    return 0


def _log_to(path: Path) -> None:
    """What the supervisor says is kept, too: a detached one has no terminal."""
    path.parent.mkdir(exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_LOG_FORMAT))
    logging.getLogger().addHandler(handler)


def _migrate(config: Config, given: argparse.Namespace) -> int:
    database = Database(config.database_url, connections=1)
    applied = migrate(database)
    print(json.dumps({"applied": applied}))
    return 0


def _running(config: Config, given: argparse.Namespace) -> Config:
    """The settings of the stack that runs on a data directory, unless URLs are given."""
    if config.database_url and config.redis_url and config.master_key:
        return config
    from sojourn.control_plane.embedded.postgres import EmbeddedPostgres
    from sojourn.control_plane.embedded.redis import EmbeddedRedis

    path = given.data_dir or Path(config.data_dir or ".")
    if not (path / credentials.MASTER_KEY).exists():
        raise DataDirError(f"{path} has no stack's data: `sojourn up` makes it, or name its directory by --data-dir")
    if not (config.database_url and config.redis_url) and DataDir(path).running() is None:
        raise DataDirError(f"nothing runs on {path}: `sojourn up` starts it")
    own: dict[str, Any] = {"data_dir": str(path)}
    if not config.database_url:
        own["database_url"] = EmbeddedPostgres(path / "postgres").url.replace("/postgres?", "/sojourn?")
    if not config.redis_url:
        own["redis_url"] = EmbeddedRedis(path).url
    own["master_key"] = config.master_key or credentials.master_key(path)
    return replace(config, **own)  # type: ignore[type-var]


def _fsck(config: Config, given: argparse.Namespace) -> int:
    from sojourn.control_plane.engine.checks import Violation
    from sojourn.control_plane.wiring import connect

    platform = connect(_running(config, given), application="sojourn-fsck")
    try:
        failed = platform.recovery.sweep_all(platform.clock())[1] if given.repair else {}
        violations = platform.checks.check(platform.clock())
    finally:
        platform.close()
    for organization, error in failed.items():
        text = f"the queue of {organization} could not be swept: {type(error).__name__}: {error}"
        violations.append(Violation("I6", "", text))
    print(json.dumps({"violations": [asdict(violation) for violation in violations]}))
    return 1 if violations else 0


def _doctor(config: Config, given: argparse.Namespace) -> int:
    from sojourn.control_plane import doctor

    try:
        config = _running(config, given)
    except DataDirError:
        pass
    config, cluster = _with_cluster(config, given)
    findings = doctor.examine(config, cluster)
    print(json.dumps({"findings": [asdict(finding) for finding in findings]}))
    return 1 if any(finding.state == "bad" for finding in findings) else 0


def _with_cluster(config: Config, given: argparse.Namespace) -> tuple[Config, str]:
    """With the private cluster of the stack that runs on a data directory; and the address of the stack's cluster."""
    from sojourn.control_plane.embedded.nomad import private_access

    path = given.data_dir or Path(config.data_dir or ".")
    told = (DataDir(path).running() or {}).get("nomad")
    if told is None:
        return config, ""
    found = private_access(path) if told["private"] else None
    if found is None or config.nomad_addr:
        return config, told["address"]
    reached = {"nomad_addr": found.address, "nomad_token": found.token}
    reached |= {"nomad_namespace": found.namespace, "nomad_region": found.region}
    return replace(config, placement="nomad", **reached), told["address"]  # type: ignore[type-var]


def _code(config: Config, given: argparse.Namespace) -> int:
    """A fresh one-time code for the dashboard."""
    from sojourn.control_plane.wiring import connect

    platform = connect(_running(config, given), application="sojourn-code")
    try:
        installation = platform.access.installation(platform.clock())
        if installation is None:
            raise DataDirError("nothing is installed there yet: run `sojourn up`")
        code = platform.access.create_dashboard_code(installation.organization_id, platform.clock())
    finally:
        platform.close()
    print(json.dumps({"code": code}))
    return 0


def _administer(config: Config, given: argparse.Namespace) -> int:
    """What is done on the database itself, without a key that opens the API."""
    from sojourn.control_plane import administration, environments, sharing
    from sojourn.control_plane.wiring import connect

    platform = connect(_running(config, given), application=f"sojourn-{given.command}")
    done = {
        "keys": administration.keys,
        "tokens": administration.tokens,
        "limits": sharing.limits,
        "environments": environments.environments,
    }
    try:
        print(json.dumps(done[given.command](platform, given.rest)))
    finally:
        platform.close()
    return 0


def _tell(fd: int | None, message: dict[str, Any]) -> None:
    if fd is None:
        print(json.dumps(message), flush=True)
        return
    try:
        with open(fd, "w", closefd=True) as pipe:
            pipe.write(json.dumps(message) + "\n")
    except BrokenPipeError:
        logging.getLogger(__name__).debug("nobody waits for the answer any more")


def _fail(text: str, ready_fd: int | None = None) -> int:
    """Said once: to the process that waits for the answer, or else to the terminal."""
    if ready_fd is not None:
        _tell(ready_fd, {"failed": text})
    else:
        print(f"sojourn: {text}", file=sys.stderr)
    return 2


_COMMANDS = {
    "stack": _stack,
    "migrate": _migrate,
    "fsck": _fsck,
    "doctor": _doctor,
    "code": _code,
    **dict.fromkeys(_ADMINISTERED, _administer),
}

if __name__ == "__main__":
    sys.exit(main())
