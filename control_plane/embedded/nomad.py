"""A private Nomad as two child processes, server and client: ACLs on, everything in the data directory.

One process could be both. Then the client registers while the server is still making its keys, is refused, and waits
for half a minute: seen in 6 of 14 starts of 1.11.3. So the client starts when the keys are there.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nomad

from sojourn.control_plane import cluster_facts as facts
from sojourn.control_plane.embedded import (
    chroot,
    nomad_certificates,
    nomad_configuration,
    nomad_ports,
    nomad_remains,
    nomad_rights,
    process,
)
from sojourn.control_plane.embedded.nomad_configuration import Ports
from sojourn.control_plane.embedded.process import StartFailed
from sojourn.control_plane.nomad_access import NAMESPACE, NomadAccess
from sojourn.control_plane.nomad_client import BaseNomadException, nomad_client, reason, signing_keys

log = logging.getLogger(__name__)

#: What `make nomad` builds; tools/nomad/go.mod requires it.
VERSION = "1.11.3"
#: The names of the two processes, of their configurations, logs and directories.
SERVER, CLIENT = "nomad", "nomad-client"
_REGION = "global"
#: A client that was refused asks again after half a minute. One that is started anew by then does so at once.
_REGISTRATION_SECONDS = 4.0
#: What tasks get of this process's environment, since Nomad hands its own on: nothing that leads to a datastore.
_PASSED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "DOCKER_HOST")


def find_binary(configured: str | None = None) -> Path | None:
    """Nomad's program: the one that is configured (SOJOURN_NOMAD_BIN), on PATH, or built by `make nomad`; None: nowhere."""
    named = os.environ.get("SOJOURN_NOMAD_BIN", "") if configured is None else configured
    found = shutil.which(named) if named else shutil.which("nomad") or shutil.which(built_binary())
    return Path(found).absolute() if found else None


def built_binary() -> Path:
    """Where `make nomad` puts it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sojourn" / "nomad" / VERSION / "nomad"


def private_access(data_dir: Path) -> NomadAccess | None:
    """What Sojourn uses at run time on the private Nomad of a data directory; None where there was none yet."""
    directory = data_dir.absolute() / "nomad"
    ports, secret = nomad_ports.of_last_time(directory), nomad_rights.known_run_time_token(directory)
    return NomadAccess(_address(ports.http), secret, NAMESPACE, _REGION) if ports and secret else None


class NomadAgent:
    """Lives in `data_dir`/nomad, with its logs in `data_dir`/logs. Needs root, which raw_exec and exec run tasks by.

    A later one on the same directory has the same jobs and tokens, and takes over the tasks that outlived a kill.
    """

    def __init__(self, binary: Path, data_dir: Path, *, allowed_drivers: Sequence[str] | None = None):
        self._binary = binary
        self._directory = data_dir.absolute() / "nomad"
        self._allocations = self._directory / "alloc"
        self._logs = data_dir.absolute() / "logs"
        self._drivers = tuple(allowed_drivers or nomad_configuration.drivers())
        self._ports: Ports | None = None
        self._access: NomadAccess | None = None
        self._client_since = 0.0
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def access(self) -> NomadAccess:
        """What Sojourn uses at run time; once `start` has returned."""
        assert self._access
        return self._access

    @property
    def management(self) -> NomadAccess:
        """The right to everything here, for the set-up, for tests and for the person who runs it."""
        assert self._ports
        return NomadAccess(
            address=_address(self._ports.http),
            token=nomad_rights.management_token(self._directory),
            namespace=NAMESPACE,
            region=_REGION,
        )

    @property
    def starters(self) -> dict[str, Callable[[], subprocess.Popen[bytes]]]:
        """How each process is started again, by its name."""
        return {SERVER: self.launch_server, CLIENT: self.launch_client}

    def start(self, timeout: float = 60) -> NomadAccess:
        """Starts both and waits until they take jobs. `StartFailed` says why they do not within `timeout` seconds."""
        self.launch()
        return self.wait_until_ready(timeout)

    def check(self) -> None:
        """`StartFailed` where this process cannot start it, or should not."""
        if os.geteuid() != 0:
            raise StartFailed(
                "a private Nomad needs root, which raw_exec and exec run tasks by: be root, or set NOMAD_ADDR"
            )
        found = _version(self._binary)
        if facts.numbers(found) < facts.LEAST:
            least = facts.dotted(facts.LEAST)
            raise StartFailed(f"{self._binary} is Nomad {found or '?'}: name one of {least} or later by SOJOURN_NOMAD_BIN")

    def launch(self) -> None:
        """The first half of `start`."""
        self.check()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (CLIENT, SERVER):
            nomad_remains.end_agents(self._configuration(name))
        last = nomad_ports.of_last_time(self._directory)
        self._ports = last if last and last.are_free else nomad_configuration.free_ports()
        if last and last != self._ports:
            nomad_ports.tell_raft(self._directory / SERVER, self._ports)
        nomad_ports.keep(self._directory, self._ports)
        self.launch_server()

    def launch_server(self) -> subprocess.Popen[bytes]:
        """Starts the server, the first time or again."""
        assert self._ports
        told = nomad_configuration.server(self._directory / SERVER, self._ports, _REGION)
        return self._run(SERVER, {**told, "tls": self._tls("server")})

    def launch_client(self) -> subprocess.Popen[bytes]:
        """Starts the client, the first time or again: it finds its tasks."""
        assert self._ports
        directory = self._directory / CLIENT
        self._client_since = time.monotonic()
        seen = chroot.environment(self._directory / "chroot") if "exec" in self._drivers else {}
        told = nomad_configuration.client(directory, self._allocations, self._ports, _REGION, self._drivers, seen)
        return self._run(CLIENT, {**told, "tls": self._tls("client")})

    def wait_until_ready(self, timeout: float = 60, proceed: Callable[[], None] = lambda: None) -> NomadAccess:
        """The second half of `start`. What `proceed` raises ends the wait."""
        deadline = time.monotonic() + timeout
        while why := self._lacks():
            proceed()
            for name, child in self.children.items():
                if child.poll() is not None:
                    self.stop(grace=0)
                    raise StartFailed(f"Nomad did not start: {process.last_line(self._log(name))}")
            if time.monotonic() > deadline:
                self.stop(grace=0)
                raise StartFailed(f"Nomad was not ready within {timeout:g} s ({why}): {self._logs} has what it wrote")
            time.sleep(0.05)
        return self.access

    def stop(self, grace: float = 10) -> None:
        """Ends its jobs, itself and whatever is left. `grace` is how many seconds the tasks have to end by themselves."""
        if not self.children:
            return
        if grace and all(child.poll() is None for child in self.children.values()):
            self._end_jobs(grace)
        for name in (CLIENT, SERVER):
            if name in self.children:
                process.end(self.children[name], signal.SIGTERM, 10)
        left = nomad_remains.end_tasks(self._directory, self._allocations)
        if left:
            log.warning("processes of Nomad's tasks do not end: %s", left)
        nomad_remains.unmount(self._directory)

    # --- starting

    def _configuration(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _tls(self, role: str) -> dict[str, object]:
        return nomad_certificates.tls(self._directory / "tls", _REGION, role)

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _run(self, name: str, told: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        self._configuration(name).write_text(json.dumps(told, indent=2) + "\n")
        self.children[name] = process.start(
            [str(self._binary), "agent", f"-config={self._configuration(name)}"],
            self._log(name),
            environment={each: os.environ[each] for each in _PASSED if each in os.environ},
            death_signal=signal.SIGTERM,
            directory=self._directory,
        )
        return self.children[name]

    def _lacks(self) -> str:
        """Goes one step on, and says what is still waited for; empty when jobs are taken."""
        management = self.management
        client = nomad_client(management)
        try:
            if self._access is None:
                nomad_rights.bootstrap(client, management.token)
                secret = nomad_rights.run_time_token(client, self._directory)
                self._access = NomadAccess(management.address, secret, NAMESPACE, _REGION)
            if CLIENT not in self.children:
                if not signing_keys(client):
                    return "it has no keys for workload identities"
                self.launch_client()
            if not self._is_registered():
                self._try_anew()
                return "its client is not registered"
            return _node_lacks(client, self._drivers)
        except BaseNomadException as error:
            return reason(error)

    def _is_registered(self) -> bool:
        """Asked of the client itself: the server goes on calling a node ready for a while after it left."""
        assert self._ports
        client = nomad_client(replace(self.management, address=_address(self._ports.client_http)))
        told = client.agent.get_agent()
        return bool(told["stats"]["client"]["heartbeat_ttl"] != "0s")

    def _try_anew(self) -> None:
        """A client whose identity has run out, after a day without a stack, is refused once and then forgets it."""
        if time.monotonic() - self._client_since > _REGISTRATION_SECONDS:
            process.end(self.children[CLIENT], signal.SIGTERM, 10)
            self.launch_client()

    def _end_jobs(self, grace: float) -> None:
        """Deregisters what runs: Nomad replaces an allocation that is merely stopped. Parents stay for the next start."""
        client = nomad_client(self.management)
        deadline = time.monotonic() + grace
        try:
            for job in client.jobs.request(method="get", params={"namespace": "*"}).json():
                if job["Status"] != "dead" and not job["ParameterizedJob"] and not job["Periodic"]:
                    client.job.request(job["ID"], method="delete", params={"namespace": job["Namespace"]})
            while time.monotonic() < deadline and _live_allocations(client):
                time.sleep(0.05)
        except BaseNomadException as error:
            log.warning("Nomad's jobs are ended by force: %s", reason(error))


def _version(binary: Path) -> str:
    """Of a program, as `1.11.3`; empty for one that does not say."""
    try:
        told = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.removeprefix("Nomad v").split()[0] if told.startswith("Nomad v") else ""


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _node_lacks(client: nomad.Nomad, wanted: Sequence[str]) -> str:
    """What keeps the node from taking jobs. Docker may come and go."""
    for node in client.nodes.get_nodes():
        if (node["Status"], node["SchedulingEligibility"]) == ("ready", "eligible"):
            healthy = {name for name, driver in node["Drivers"].items() if driver["Healthy"]}
            missing = [name for name in wanted if name not in healthy | {"docker"}]
            return f"driver {missing[0]} is not healthy" if missing else ""
    return "its node is not ready"


def _live_allocations(client: nomad.Nomad) -> bool:
    query = {"namespace": "*", "filter": 'ClientStatus == "running" or ClientStatus == "pending"'}
    found = client.allocations.request(method="get", params=query).json()
    # What is pending and not wanted any more is never started.
    return any(each["ClientStatus"] == "running" or each["DesiredStatus"] == "run" for each in found)
