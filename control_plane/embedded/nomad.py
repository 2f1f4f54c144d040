"""A private Nomad agent as a child process: server and client in one, ACLs on, everything in the data directory."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import nomad

from sojourn.control_plane.embedded import nomad_remains, nomad_rights, process
from sojourn.control_plane.embedded.nomad_configuration import Ports, configuration, drivers, free_ports
from sojourn.control_plane.embedded.process import StartFailed
from sojourn.control_plane.nomad_access import NAMESPACE, NomadAccess
from sojourn.control_plane.nomad_client import BaseNomadException, nomad_client, reason

log = logging.getLogger(__name__)

#: What `make nomad` builds; tools/nomad/go.mod requires it.
VERSION = "1.11.3"
_REGION = "global"
_TAKEN = "address already in use"
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


class NomadAgent:
    """Lives in `data_dir`/nomad, with its log in `data_dir`/logs. Needs root, which raw_exec and exec run tasks by.

    A later agent on the same directory has the same jobs and tokens, and takes over the tasks that outlived a kill.
    """

    def __init__(self, binary: Path, data_dir: Path, *, allowed_drivers: Sequence[str] | None = None):
        self._binary = binary
        self._directory = data_dir.absolute() / "nomad"
        self._log = data_dir.absolute() / "logs" / "nomad.log"
        self._configuration = self._directory / "agent.json"
        self._drivers = tuple(allowed_drivers or drivers())
        self._ports: Ports | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._access: NomadAccess | None = None

    @property
    def child(self) -> subprocess.Popen[bytes] | None:
        """The agent's process."""
        return self._process

    @property
    def access(self) -> NomadAccess:
        """What Sojourn uses at run time; once `start` has returned."""
        assert self._access
        return self._access

    @property
    def management(self) -> NomadAccess:
        """The right to everything on this agent, for its set-up, for tests and for the person who runs it."""
        assert self._ports
        return NomadAccess(
            address=f"http://127.0.0.1:{self._ports.http}",
            token=nomad_rights.management_token(self._directory),
            namespace=NAMESPACE,
            region=_REGION,
        )

    def start(self, timeout: float = 60) -> NomadAccess:
        """Starts the agent and waits until it takes jobs. `StartFailed` says why it does not within `timeout` seconds."""
        self.launch()
        return self.wait_until_ready(timeout)

    def launch(self) -> None:
        """The first half of `start`. Called again, it starts the agent where it was."""
        if os.geteuid() != 0:
            raise StartFailed(
                "a private Nomad needs root, which raw_exec and exec run tasks by: run as root, or set NOMAD_ADDR"
            )
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        nomad_remains.end_agents(self._configuration)
        self._ports = self._ports or self._ports_of_last_time() or free_ports()
        told = configuration(self._directory / "data", self._ports, _REGION, self._drivers)
        self._configuration.write_text(json.dumps(told, indent=2) + "\n")
        self._process = process.start(
            [str(self._binary), "agent", f"-config={self._configuration}"],
            self._log,
            environment={name: os.environ[name] for name in _PASSED if name in os.environ},
            death_signal=signal.SIGTERM,
            directory=self._directory,
        )

    def wait_until_ready(self, timeout: float = 60) -> NomadAccess:
        """The second half of `start`."""
        deadline = time.monotonic() + timeout
        client, why = nomad_client(self.management), "it did not answer"
        while True:
            try:
                if not (why := self._set_up(client)):
                    return self.access
            except BaseNomadException as error:
                why = reason(error)
            assert self._process
            if self._process.poll() is not None:
                told = process.last_line(self._log)
                if _TAKEN not in told:
                    raise StartFailed(f"Nomad did not start: {told}")
                self._ports = None
                self.launch()
                client = nomad_client(self.management)
            if time.monotonic() > deadline:
                self.stop(grace=0)
                raise StartFailed(f"Nomad was not ready within {timeout:g} s ({why}): {self._log} has what it wrote")
            time.sleep(0.05)

    def stop(self, grace: float = 10) -> None:
        """Ends its jobs, itself and whatever is left. `grace` is how many seconds the tasks have to end by themselves."""
        if self._process is None:
            return
        if grace and self._process.poll() is None:
            self._end_jobs(grace)
        process.end(self._process, signal.SIGTERM, 10)
        left = nomad_remains.end_tasks(self._directory, self._directory / "data" / "alloc")
        if left:
            log.warning("processes of Nomad's tasks do not end: %s", left)
        nomad_remains.unmount(self._directory)

    # --- starting

    def _ports_of_last_time(self) -> Ports | None:
        """Those of the last agent here: its jobs and its node know it by them."""
        try:
            ports = Ports(**json.loads(self._configuration.read_text())["ports"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return ports if ports.are_free else None

    def _set_up(self, client: nomad.Nomad) -> str:
        """What it still waits for; empty when the agent takes jobs and everything is there."""
        management = self.management
        nomad_rights.bootstrap(client, management.token)
        secret = nomad_rights.run_time_token(client, self._directory)
        self._access = NomadAccess(management.address, secret, NAMESPACE, _REGION)
        if not _has_signing_keys(client):
            return "it has no keys for workload identities"
        return _node_lacks(client, self._drivers)

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


def _has_signing_keys(client: nomad.Nomad) -> bool:
    response = client.jobs.session.get(f"{client.address}/.well-known/jwks.json", timeout=5)
    return response.ok and bool(response.json()["keys"])


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
