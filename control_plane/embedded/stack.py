"""The real stack on one machine: PostgreSQL, Redis, control plane, scheduler, Nomad where it is wished for.

All of it is watched, restarted, ended together.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2

from sojourn.control_plane.config import Config, to_environment
from sojourn.control_plane.embedded import credentials, outside, process
from sojourn.control_plane.embedded.data_dir import DataDir
from sojourn.control_plane.embedded.nomad import NomadAgent, find_binary
from sojourn.control_plane.embedded.postgres import EmbeddedPostgres
from sojourn.control_plane.embedded.process import StartFailed
from sojourn.control_plane.embedded.redis import EmbeddedRedis
from sojourn.control_plane.nomad_access import NomadAccess, further_clusters, nomad_access, token_variables
from sojourn.control_plane.stopping import Stopping
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.checkpoints import count_frozen
from sojourn.control_plane.store.clock import DatabaseClock
from sojourn.control_plane.store.database import Database, StoreUnavailable
from sojourn.control_plane.store.migrations import SchemaTooNew, migrate
from sojourn.control_plane.store.seal import Seal, SealBroken
from sojourn.control_plane.wiring import regions_of
from sojourn.scheduler.placement.process import start_time

log = logging.getLogger(__name__)

_DATABASE = "sojourn"
_LONGEST_PAUSE = 5.0
_READY_SECONDS = 30
#: How long the servers of a stack that was killed may take to end.
_ENDING_SECONDS = 15
_PORT_ERRORS = (errno.EADDRINUSE, errno.EACCES)


class StartInterrupted(Exception):
    """Somebody asked the stack to stop before it was up."""


class Stack:
    """`start`, then `watch` until somebody asks it to stop; `stop` leaves nothing behind."""

    def __init__(self, config: Config, data_dir: DataDir):
        self._config = config
        self._data_dir = data_dir
        self._postgres: EmbeddedPostgres | None = None
        self._redis: EmbeddedRedis | None = None
        self._nomad: NomadAgent | None = None
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._starters: dict[str, Callable[[], subprocess.Popen[bytes] | None]] = {}
        self._stopping = Stopping()

    def start(self) -> dict[str, Any]:
        """Everything up, ready and found; what `status` prints. `StartFailed` says in one line what is wrong.

        `StartInterrupted` when `ask_to_stop` comes before the end.
        """
        patience = _ENDING_SECONDS if self._data_dir.left_behind() else 0
        _port_is_free(self._config.host, self._config.port, patience)
        if self._config.database_url:
            outside.check_database(self._config.database_url)
        if self._config.redis_url:
            outside.check_redis(self._config.redis_url)
        self._choose_placement()
        self._start_servers()
        config = self._connected_config()
        self._go_on()
        found = self._prepare_store(config)
        self._go_on()
        self._run("control-plane", [*_python("gunicorn"), *_gunicorn_arguments()], to_environment(config))
        self._run("scheduler", _python("sojourn.scheduler"), {**to_environment(config, scheduler=True), **_tokens(config)})
        self._wait_until_ready(config)
        told = {"nomad": self._told(nomad_access(config))} if config.placement == "nomad" else {}
        state = {"api_url": config.api_url, "data_dir": str(self._data_dir.path), "services": self._pids()}
        self._data_dir.write_state({**state, **told})
        self._data_dir.note_place()
        return {**found, **told}

    def watch(self) -> None:
        """Starts again what dies, with a growing pause, until `ask_to_stop`."""
        pauses = dict.fromkeys(self._children, 0.1)
        since = dict.fromkeys(self._children, time.monotonic())
        while not self._stopping.wait(0.1):
            for name, child in list(self._children.items()):
                if child.poll() is None:
                    if time.monotonic() - since[name] > 10 * _LONGEST_PAUSE:
                        pauses[name] = 0.1
                    continue
                log.warning("%s ended (%s) and is started again", name, child.returncode)
                if self._stopping.wait(pauses[name]):
                    return
                pauses[name], since[name] = min(pauses[name] * 2, _LONGEST_PAUSE), time.monotonic()
                self._start_again(name)

    def ask_to_stop(self) -> None:
        """Makes `watch` return, and `start` give up. A signal's handler may call it."""
        self._stopping.ask()

    def stop(self) -> None:
        """In reverse order: the scheduler takes its executors with it."""
        self._stopping.ask()
        grace = self._config.drain_grace_seconds
        for name, seconds in (("scheduler", grace + 15), ("control-plane", 8)):
            child = self._children.get(name)
            if child is not None:
                process.end(child, signal.SIGTERM, seconds)
        self._end_executors()
        if self._nomad is not None:
            self._nomad.stop()
        if self._redis is not None:
            self._redis.stop()
        if self._postgres is not None:
            self._postgres.stop()
        self._data_dir.clear_state()

    # --- starting

    def _choose_placement(self) -> None:
        """What can be known to fail does so before anything is started."""
        if self._config.placement != "nomad":
            return
        regions_of(self._config)
        further_clusters(self._config, os.environ)
        if self._config.nomad_addr:
            outside.check_nomad(nomad_access(self._config))
            return
        binary = find_binary(self._config.nomad_bin)
        if binary is None:
            raise StartFailed(
                "Nomad is not here: install HashiCorp's release or `make nomad`, name it by SOJOURN_NOMAD_BIN,"
                " or set NOMAD_ADDR to a cluster that runs"
            )
        self._nomad = NomadAgent(binary, self._data_dir.path)
        self._nomad.check()

    def _start_servers(self) -> None:
        """The embedded ones, all at once; those that the user named are theirs."""
        path = self._data_dir.path
        if self._nomad is not None:
            self._nomad.launch()
        if not self._config.redis_url:
            self._redis = EmbeddedRedis(path)
            self._redis.launch()
        if not self._config.database_url:
            self._postgres = EmbeddedPostgres(path / "postgres")
            self._postgres.launch()
        if self._redis is not None:
            self._redis.wait_until_ready()
            self._keep("redis", self._redis)
        if self._postgres is not None:
            self._postgres.wait_until_ready()
            self._keep("postgres", self._postgres)
        if self._nomad is not None:
            self._nomad.wait_until_ready(proceed=self._go_on)
            self._children.update(self._nomad.children)
            self._starters.update(self._nomad.starters)

    def _keep(self, name: str, server: EmbeddedPostgres | EmbeddedRedis) -> None:
        assert server.child
        self._children[name] = server.child

        def start_again() -> subprocess.Popen[bytes] | None:
            server.launch()
            return server.child

        self._starters[name] = start_again

    def _connected_config(self) -> Config:
        given: dict[str, Any] = {"data_dir": str(self._data_dir.path)}
        if self._redis is not None:
            given["redis_url"] = self._redis.url
        if self._postgres is not None:
            given["database_url"] = _own_database(self._postgres.url)
        if self._nomad is not None:
            access = self._nomad.access
            given |= {"nomad_addr": access.address, "nomad_token": access.token}
            given |= {"nomad_namespace": access.namespace, "nomad_region": access.region}
        if not self._config.master_key:
            given["master_key"] = credentials.master_key(self._data_dir.path)
        return replace(self._config, **given)  # type: ignore[type-var]

    def _moved(self, database: Database) -> dict[str, Any]:
        """What a move of the data directory spoils: images of frozen runs hold the paths of this stack's own nodes."""
        place = self._data_dir.moved_from
        if place is None or self._config.nomad_addr:
            return {}
        frozen = count_frozen(database)
        if frozen == 0:
            return {}
        log.warning("the data directory was moved: runs that were frozen in %s begin anew (%s are frozen)", place, frozen)
        return {"moved": {"from": place, "frozen_runs": frozen}}

    def _prepare_store(self, config: Config) -> dict[str, Any]:
        database = Database(config.database_url, connections=2, application="sojourn-stack")
        try:
            migrate(database)
            clock = DatabaseClock(database)
            access = Access(database, Seal(config.master_key))
            found = credentials.credentials(self._data_dir.path, access, config.api_url, clock())
            installation = access.installation(clock())
            assert installation
            code = access.create_dashboard_code(installation.organization_id, clock())
            return {**found, **self._moved(database), "dashboard_url": f"{config.api_url}/?code={code}"}
        except SchemaTooNew as error:
            raise StartFailed(f"{error}: upgrade Sojourn, or use another database") from error
        except SealBroken as error:
            raise StartFailed(
                "the database was sealed with another master key: put the master.key that belongs to it into"
                f" {self._data_dir.path}, or set SOJOURN_MASTER_KEY"
            ) from error
        except (StoreUnavailable, psycopg2.Error) as error:
            why = outside.without_secret(str(error), config.database_url)
            raise StartFailed(f"the database cannot be prepared ({why}): its user must own it") from error
        finally:
            database.close()

    def _go_on(self) -> None:
        if self._stopping.is_asked:
            raise StartInterrupted

    def _told(self, access: NomadAccess) -> dict[str, Any]:
        """What anybody may know of the cluster."""
        return {"address": access.shown, "namespace": access.namespace, "private": self._nomad is not None}

    def _run(self, name: str, command: list[str], settings: Mapping[str, str]) -> None:
        environment = {**process.inherited(), **settings, "PYTHONUNBUFFERED": "1"}

        def begin() -> subprocess.Popen[bytes]:
            path = self._data_dir.path / "logs" / f"{name}.log"
            return process.start(command, path, environment=environment, death_signal=signal.SIGTERM)

        self._starters[name] = begin
        self._children[name] = begin()

    def _start_again(self, name: str) -> None:
        try:
            child = self._starters[name]()
            if child is not None:
                self._children[name] = child
                running = self._data_dir.running()
                if running:
                    self._data_dir.write_state({**running, "services": self._pids()})
        except (StartFailed, OSError) as error:
            log.error("%s does not start: %s", name, error)

    def _wait_until_ready(self, config: Config) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        host = "127.0.0.1" if config.host == "0.0.0.0" else config.host  # noqa: S104 - compared, not bound
        while not _answers(host, config.port):
            self._go_on()
            for name in ("control-plane", "scheduler"):
                if self._children[name].poll() is not None:
                    told = process.last_line(self._data_dir.path / "logs" / f"{name}.log")
                    raise StartFailed(f"the {name} did not start: {told}")
            if time.monotonic() > deadline:
                logs = self._data_dir.path / "logs"
                raise StartFailed(f"the control plane was not ready within {_READY_SECONDS} s: {logs} has what it wrote")
            time.sleep(0.03)

    def _pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items()}

    def _end_executors(self) -> None:
        """What a scheduler that was killed has left. The files stay: the next scheduler tells what these executors had."""
        for path in (self._data_dir.path / "executors").glob("*.json"):
            try:
                entry = json.loads(path.read_text())
                if start_time(entry["pid"]) == entry["started"]:
                    os.killpg(entry["pid"], signal.SIGKILL)
            except (OSError, ValueError, KeyError):
                log.debug("no executor to end: %s", path.name)


def _tokens(config: Config) -> dict[str, str]:
    """What the scheduler alone gets of this environment: tokens that the settings name by variables."""
    return {name: os.environ[name] for name in token_variables(config) if name in os.environ}


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _gunicorn_arguments() -> list[str]:
    settings = Path(__file__).with_name("gunicorn_conf.py")
    return ["--config", str(settings), "--no-control-socket", "sojourn.control_plane.serve:application()"]


def _port_is_free(host: str, port: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while error := _refusal(host, port):
        if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
            advice = "choose another by --port" if error.errno in _PORT_ERRORS else "correct SOJOURN_HOST"
            raise StartFailed(f"port {port} on {host} cannot be used ({error.strerror}): {advice}") from error
        time.sleep(0.05)


def _refusal(host: str, port: int) -> OSError | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _own_database(maintenance_url: str) -> str:
    database = Database(maintenance_url, connections=1)
    try:
        if not database.rows("SELECT 1 FROM pg_database WHERE datname = %s", _DATABASE):
            database.rows(f"CREATE DATABASE {_DATABASE}")
    finally:
        database.close()
    return maintenance_url.replace("/postgres?", f"/{_DATABASE}?")


def _answers(host: str, port: int) -> bool:
    import http.client

    try:
        connection = http.client.HTTPConnection(host, port, timeout=2)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
