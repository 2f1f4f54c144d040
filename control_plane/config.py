"""Settings: one table from which the configuration, the environment variables, the help and the docs page come."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from typing import TYPE_CHECKING, Any

from sojourn.control_plane.setting_kinds import (
    TEXT,
    Kind,
    choice,
    counts,
    document,
    flag,
    key,
    listed,
    networks,
    number,
    object_store,
    paths,
    rate,
    terms,
    url,
    webhook_networks,
    whole,
)


class SettingError(ValueError):
    """A setting's value cannot be used; the text names the variable and what it takes."""


@dataclass(frozen=True, slots=True)
class Setting:
    """`variable` is the environment variable; `kind` reads its text; `takes` says what that may be.

    What is `scheduler_only` leads to the cluster: no other process of a stack gets it.
    """

    name: str
    kind: Callable[[str], Any]
    default: Any
    help: str
    takes: str
    variable: str
    secret: bool = False
    scheduler_only: bool = False


_CORES = os.cpu_count() or 2


def _setting(
    name: str,
    kind: Kind,
    default: Any,
    help: str,
    *,
    variable: str | None = None,
    secret: bool = False,
    scheduler_only: bool = False,
) -> Setting:
    return Setting(name, kind[0], default, help, kind[1], variable or f"SOJOURN_{name.upper()}", secret, scheduler_only)


def _nomad(name: str, help: str, kind: Kind = TEXT, default: Any = "", secret: bool = False) -> Setting:
    """A setting by the name that Nomad's own tools give it."""
    variable = f"NOMAD_{name.upper()}"
    return _setting(f"nomad_{name}", kind, default, help, variable=variable, secret=secret, scheduler_only=True)


SETTINGS: tuple[Setting, ...] = (
    _setting(
        "database_url",
        url("postgresql", "postgres"),
        "",
        "PostgreSQL, which holds everything. Absent: `sojourn up` starts one in the data directory.",
        variable="DATABASE_URL",
        secret=True,
    ),
    _setting(
        "redis_url",
        url("redis", "rediss", "unix"),
        "",
        "Redis, the queue's index; it can be emptied at any moment. Absent: `sojourn up` starts one.",
        variable="REDIS_URL",
        secret=True,
    ),
    _setting("data_dir", TEXT, "", "Where archives, version trees, logs and the embedded servers' data are kept."),
    _setting("host", TEXT, "127.0.0.1", "The address that the control plane listens on."),
    _setting("port", whole(1, 65535), 3030, "The port that the control plane listens on."),
    _setting("api_url", url("http", "https"), "", "How executors and users reach the API. Absent: made of host and port."),
    _setting("master_key", key(), "", "Seals secrets at rest. Absent: `sojourn up` makes one.", secret=True),
    _setting("web_workers", whole(1, 64), 2, "Processes of the control plane."),
    _setting(
        "request_head_seconds",
        number(0.1, 600),
        10.0,
        "How long a client may take for the head of a request, from its first byte; then it is cut off.",
    ),
    _setting(
        "request_body_seconds",
        number(0.1, 600),
        30.0,
        "How long a body may stand still, or be late beyond a second for each 1,000 bytes; and an answer not be taken.",
    ),
    _setting("database_connections", whole(2, 500), 20, "Connections to PostgreSQL of each process, at most."),
    _setting("places", whole(1, 1000), max(4, 2 * _CORES), "Local executors at once."),
    _setting(
        "executors_per_environment",
        whole(0, 100000),
        0,
        "Executors of one environment at once, idle ones too; 0: as many as there are places.",
    ),
    _setting(
        "keep_alive",
        counts(),
        "",
        "Executors of the current version that are there before a run is, and stay when idle. Absent: none.",
    ),
    _setting(
        "placement",
        choice("local", "nomad"),
        "",
        "Where executors run: processes of this machine, or Nomad jobs. Absent: nomad where NOMAD_ADDR is set, else local.",
    ),
    _nomad("addr", "The cluster. Absent: `sojourn up --nomad` starts a private one.", url("http", "https"), secret=True),
    _nomad("token", "A token with the policy of docs/nomad.md.", secret=True),
    _nomad("namespace", "The namespace of Sojourn's jobs; it has to be there.", default="sojourn"),
    _nomad("region", "The region that is asked. Absent: that of the server behind NOMAD_ADDR."),
    _nomad("cacert", "A file with the certificate of the authority that signed the server's."),
    _nomad("client_cert", "A file with the certificate to show to the server."),
    _nomad("client_key", "A file with the key of that certificate."),
    _nomad("tls_server_name", "The name in the server's certificate, where it is not NOMAD_ADDR's host."),
    _nomad("skip_verify", "Whether the server's certificate goes unchecked.", flag(), False),
    _setting(
        "nomad_cluster",
        TEXT,
        "default",
        "What the cluster of NOMAD_ADDR is called, where runs are shown.",
        scheduler_only=True,
    ),
    _setting("nomad_places", whole(1, 100000), 100, "Executors at once on Nomad, of each cluster.", scheduler_only=True),
    _setting(
        "nomad_submissions",
        whole(1, 10000),
        16,
        "Executors at once that were submitted to a cluster and do not run yet.",
        scheduler_only=True,
    ),
    _setting(
        "nomad_sites",
        document(),
        "",
        "Where each environment's jobs run: see docs/nomad-jobs.md.",
    ),
    _setting(
        "regions",
        document(),
        "",
        "Where runs may be sent by name: clusters, node pools, options of a site. See docs/nomad.md.",
    ),
    _setting(
        "nomad_clusters",
        document(),
        "",
        "Clusters beside that of NOMAD_ADDR, by name. See docs/nomad.md.",
        secret=True,
        scheduler_only=True,
    ),
    _setting(
        "nomad_keep_seconds",
        number(1, 604800),
        300.0,
        "How long a job whose executor ended stays in Nomad.",
        scheduler_only=True,
    ),
    _setting(
        "executors_on_stop",
        choice("end", "keep"),
        "end",
        "When the scheduler stops, executors on Nomad are ended and hand their runs back, or kept for the next scheduler.",
        scheduler_only=True,
    ),
    _setting("nomad_bin", TEXT, "", "Nomad's program. Absent: `nomad` on PATH, else the one that `make nomad` built."),
    _setting("heartbeat_seconds", number(0.05, 600), 10.0, "How often an executor beats."),
    _setting("lease_seconds", number(0.5, 3600), 60.0, "How long an executor may be silent before it is given up."),
    _setting("sweep_seconds", number(0.1, 600), 10.0, "How often leases are looked at and the queue is swept."),
    _setting(
        "batch_patience_seconds",
        number(1, 604800),
        1800.0,
        "How long a batch waits for its next item before it is given up.",
    ),
    _setting(
        "webhook_networks",
        webhook_networks(),
        "public,private",
        "Where messages to webhooks may go. Link-local addresses, where clouds have metadata, are named as networks alone.",
    ),
    _setting("dispatch_seconds", number(0.5, 600), 10.0, "How long a run may be out of the queue and not claimed."),
    _setting("placement_seconds", number(1, 3600), 60.0, "How long a placed executor may take to show up."),
    _setting("idle_timeout_seconds", number(0, 86400), 60.0, "How long an executor without a run stays warm."),
    _setting("quantum_runs", whole(1, 100000), 20, "Runs an executor serves before it may have to give way."),
    _setting("quantum_seconds", number(0, 3600), 1.0, "A run that takes this long ends its executor's turn."),
    _setting(
        "retry_immediate_max_seconds",
        number(0, 3600),
        5.0,
        "A shorter wait before a retry is spent in the executor, a longer one in the queue.",
    ),
    _setting("cancel_grace_seconds", number(0, 3600), 30.0, "How long `on_cancel` hooks may take."),
    _setting("term_grace_seconds", number(0, 600), 1.0, "From SIGTERM to SIGKILL for a task's process."),
    _setting("drain_grace_seconds", number(0, 3600), 5.0, "How long a run may go on when its executor must leave."),
    _setting(
        "sandbox",
        choice("off", "auto", "required"),
        "auto",
        "Whether tasks run in a sandbox: auto where the executor's node can make one, required nowhere else.",
    ),
    _setting(
        "sandbox_network",
        choice("filtered", "none", "host"),
        "filtered",
        "What a sandbox reaches: filtered the Internet, none the API alone, host all that the node does.",
    ),
    _setting("sandbox_allow", networks(), "", "Private networks that a filtered sandbox reaches all the same."),
    _setting("sandbox_deny", networks(), "", "Networks beside the private ones that a filtered sandbox does not reach."),
    _setting(
        "sandbox_forward",
        listed("host:port"),
        "",
        "TCP services of the node's side that a sandbox reaches, at 127.0.0.1 and the same port.",
    ),
    _setting("sandbox_readable", paths(), "", "Paths of the node that tasks see in a sandbox beside their own."),
    _setting("sandbox_writable", paths(), "", "Paths of the node that tasks see in a sandbox and may write to."),
    _setting("sandbox_uid", whole(1, 4000000000), 0x78000000, "The first of the user ids of sandboxes, one for each."),
    _setting("sandbox_processes", whole(16, 1000000), 512, "Processes and threads in a sandbox, at most."),
    _setting("sandbox_tmp_mb", whole(1, 10000000), 1024, "The size of a sandbox's own /tmp, which is memory."),
    _setting(
        "object_store",
        object_store(),
        "",
        "Where checkpoints are kept: a directory, or s3://bucket/prefix?endpoint=…&region=…. Absent: in data_dir.",
    ),
    _setting(
        "freeze",
        choice("auto", "off"),
        "auto",
        "Whether processes that wait are frozen: auto where their node can, off nowhere.",
    ),
    _setting(
        "restored_starts",
        choice("auto", "off"),
        "auto",
        "Whether executors start out of images of processes that have imported: auto where that is faster, off nowhere.",
    ),
    _setting(
        "freeze_after", number(0, 86400), 3.0, "A wait without a date is frozen when it has lasted this long. 0: at once."
    ),
    _setting(
        "freeze_threshold", number(0, 86400), 5.0, "A wait for a date further away than this is frozen at once. 0: all."
    ),
    _setting(
        "freeze_environments",
        terms(),
        "",
        "For single environments: off, or after how many seconds any wait is frozen, in place of the two above.",
    ),
    _setting("short_wait", number(0, 86400), 5.0, "A shorter wait is spent in the process, which keeps its slot."),
    _setting("checkpoint_limit_mb", whole(1, 10000000), 20480, "The size of a stored checkpoint, at most."),
    _setting("checkpoint_seconds", number(1, 3600), 600.0, "How long storing a checkpoint may take."),
    _setting(
        "queue_size_limit",
        whole(0, 100000000),
        1000000,
        "Runs in an organization's queue, with those that its batches are to have, from which on no more are taken; a"
        " guard, as of a moment ago. 0: no limit.",
    ),
    _setting(
        "api_rate",
        rate(),
        "60000:30000/10",
        "Calls of an environment by its keys: how many at once, and how many more in so many seconds; off: no limit.",
    ),
    _setting(
        "batch_rate",
        rate(),
        "2000000:200000/10",
        "Items of an environment's new batches: how many at once, and how many more in so many seconds; off: no limit.",
    ),
    _setting("public_token_rate", rate(), "600:600/60", "The same for each public token."),
    _setting("log_retention_days", whole(0, 3650), 7, "Days that log lines are kept; 0: for good."),
    _setting("log_lines_limit", whole(0, 100000000), 50000, "Log lines of an attempt that are kept; 0: all."),
    _setting("run_retention_days", whole(0, 3650), 0, "Days that finished runs are kept; 0: for good."),
    _setting("faults", TEXT, "", "Fault points to switch on, for tests."),
    _setting("log_level", choice("debug", "info", "warning", "error"), "info", "What is logged."),
)

if TYPE_CHECKING:

    class Config:
        """The settings by name; frozen."""

        database_url: str
        redis_url: str
        data_dir: str
        host: str
        port: int
        api_url: str
        master_key: str
        web_workers: int
        request_head_seconds: float
        request_body_seconds: float
        database_connections: int
        places: int
        executors_per_environment: int
        keep_alive: str
        placement: str
        nomad_addr: str
        nomad_token: str
        nomad_namespace: str
        nomad_region: str
        nomad_cacert: str
        nomad_client_cert: str
        nomad_client_key: str
        nomad_tls_server_name: str
        nomad_skip_verify: bool
        nomad_cluster: str
        nomad_places: int
        nomad_submissions: int
        nomad_sites: str
        regions: str
        nomad_clusters: str
        nomad_keep_seconds: float
        executors_on_stop: str
        nomad_bin: str
        heartbeat_seconds: float
        lease_seconds: float
        sweep_seconds: float
        batch_patience_seconds: float
        webhook_networks: str
        dispatch_seconds: float
        placement_seconds: float
        idle_timeout_seconds: float
        quantum_runs: int
        quantum_seconds: float
        retry_immediate_max_seconds: float
        cancel_grace_seconds: float
        term_grace_seconds: float
        drain_grace_seconds: float
        sandbox: str
        sandbox_network: str
        sandbox_allow: str
        sandbox_deny: str
        sandbox_forward: str
        sandbox_readable: str
        sandbox_writable: str
        sandbox_uid: int
        sandbox_processes: int
        sandbox_tmp_mb: int
        object_store: str
        freeze: str
        restored_starts: str
        freeze_after: float
        freeze_threshold: float
        freeze_environments: str
        short_wait: float
        checkpoint_limit_mb: int
        checkpoint_seconds: float
        queue_size_limit: int
        api_rate: str
        batch_rate: str
        public_token_rate: str
        log_retention_days: int
        log_lines_limit: int
        run_retention_days: int
        faults: str
        log_level: str

        def __init__(self, **settings: Any) -> None: ...
else:
    # A configuration may be printed: what is secret stays out of it.
    Config = make_dataclass("Config", [(s.name, Any, field(repr=not s.secret)) for s in SETTINGS], frozen=True)


def load(environment: Mapping[str, str] | None = None, **given: Any) -> Config:
    """The configuration out of environment variables; `given` settings go before them. `SettingError` names the bad one."""
    environment = os.environ if environment is None else environment
    values = {setting.name: _read(setting, environment) for setting in SETTINGS} | given
    if not values["api_url"]:
        values["api_url"] = f"http://{values['host']}:{values['port']}"
    if not values["placement"]:
        values["placement"] = "nomad" if values["nomad_addr"] else "local"
    return Config(**values)


def to_environment(config: Config, *, scheduler: bool = False) -> dict[str, str]:
    """The variables that make `load` give the same configuration, for the processes of a stack.

    What leads to the cluster is the scheduler's alone: other processes get none of it.
    """
    told = [setting for setting in SETTINGS if scheduler or not setting.scheduler_only]
    values = {setting.variable: getattr(config, setting.name) for setting in told}
    return {variable: str(value) for variable, value in values.items() if value != ""}


def _read(setting: Setting, environment: Mapping[str, str]) -> Any:
    text = environment.get(setting.variable, "")
    if text == "":
        return setting.default
    try:
        return setting.kind(text)
    except ValueError:
        shown = "the value it has" if setting.secret else repr(text)
        raise SettingError(f"{setting.variable} cannot be {shown}: it takes {setting.takes}") from None
