"""How Nomad clusters are reached. Whoever holds a value of this may act on a cluster: it goes to the scheduler alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sojourn.control_plane.config import Config, SettingError
from sojourn.control_plane.domain.regions import BadRegions, is_name, objects
from sojourn.control_plane.setting_kinds import http_url

#: The namespace that is meant when none is named: Sojourn has one of its own, never Nomad's `default`.
NAMESPACE = "sojourn"


@dataclass(frozen=True, slots=True, repr=False)
class NomadAccess:
    """`address` is a URL; `ca_cert`, `client_cert`, `client_key` are files. It may be printed: no secret shows."""

    address: str
    token: str = ""
    namespace: str = NAMESPACE
    region: str = ""
    ca_cert: str = ""
    client_cert: str = ""
    client_key: str = ""
    tls_server_name: str = ""
    skip_verify: bool = False

    def __repr__(self) -> str:
        return f"NomadAccess({self.shown}, namespace={self.namespace}, region={self.region})"

    @property
    def shown(self) -> str:
        """The address without a user's name and password, should they be in it."""
        return urlsplit(self.address)._replace(netloc=urlsplit(self.address).netloc.rpartition("@")[2]).geturl()

    @property
    def is_loopback(self) -> bool:
        """Whether the cluster is on this machine."""
        host = urlsplit(self.address).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster by the name that runs show. `places`: executors at once; `submissions`: of those, how many may wait."""

    name: str
    access: NomadAccess
    places: int
    submissions: int


def nomad_clusters(config: Config, environment: Mapping[str, str] | None = None) -> dict[str, Cluster]:
    """Every cluster of the settings by its name, the one of NOMAD_ADDR first. `SettingError` for what cannot be used.

    Tokens are read out of files, or of `environment`'s variables (None: this process's).
    """
    first = Cluster(config.nomad_cluster, nomad_access(config), config.nomad_places, config.nomad_submissions)
    return {first.name: first, **further_clusters(config, os.environ if environment is None else environment)}


def further_clusters(config: Config, environment: Mapping[str, str]) -> dict[str, Cluster]:
    """Those beside the one of NOMAD_ADDR."""
    found: dict[str, Cluster] = {}
    for name, entry in _entries(config).items():
        if not is_name(name) or name == config.nomad_cluster:
            raise _bad(name[:80], "another name: 1 to 64 letters, digits, _ . or -, and not that of SOJOURN_NOMAD_CLUSTER")
        found[name] = _cluster(name, entry, config, environment)
    return found


def token_variables(config: Config) -> set[str]:
    """The environment variables that the clusters' tokens are in: the scheduler's alone, like the settings themselves."""
    named = (entry.get("token_variable") for entry in _entries(config).values())
    return {variable for variable in named if isinstance(variable, str)}


def nomad_access(config: Config) -> NomadAccess:
    """The cluster that the settings name; `SettingError` when they name none."""
    if not config.nomad_addr:
        raise SettingError("SOJOURN_PLACEMENT is nomad and NOMAD_ADDR is not set: name the cluster by it")
    return NomadAccess(
        address=config.nomad_addr.rstrip("/"),
        token=config.nomad_token,
        namespace=config.nomad_namespace,
        region=config.nomad_region,
        ca_cert=config.nomad_cacert,
        client_cert=config.nomad_client_cert,
        client_key=config.nomad_client_key,
        tls_server_name=config.nomad_tls_server_name,
        skip_verify=config.nomad_skip_verify,
    )


_FILES = {"cacert": "ca_cert", "client_cert": "client_cert", "client_key": "client_key"}
_TEXTS = {**_FILES, "namespace": "namespace", "region": "region", "tls_server_name": "tls_server_name"}
_NUMBERS = {"places": 100_000, "submissions": 10_000}
_OPTIONS = ("address", "token_file", "token_variable", *_TEXTS, "skip_verify", *_NUMBERS)


def _entries(config: Config) -> dict[str, dict[str, Any]]:
    try:
        return objects("SOJOURN_NOMAD_CLUSTERS", config.nomad_clusters)
    except BadRegions as error:
        raise SettingError(str(error)) from None


def _cluster(name: str, entry: Mapping[str, Any], config: Config, environment: Mapping[str, str]) -> Cluster:
    for option in entry:
        if option not in _OPTIONS:
            raise _bad(name, f"of the options {', '.join(_OPTIONS)}; a token is never written into it")
    numbers = {"places": config.nomad_places, "submissions": config.nomad_submissions}
    for option, most in _NUMBERS.items():
        if option in entry:
            numbers[option] = _of_kind(f"{name}.{option}", entry[option], int, f"a whole number from 1 to {most}")
            if not 1 <= numbers[option] <= most:
                raise _bad(f"{name}.{option}", f"a whole number from 1 to {most}")
    given: dict[str, Any] = {
        field: _of_kind(f"{name}.{option}", entry[option], str, "a text")
        for option, field in _TEXTS.items()
        if option in entry
    }
    access = NomadAccess(
        address=_read(
            f"{name}.address", entry.get("address"), http_url, "a URL that begins with http:// or https://"
        ).rstrip("/"),
        token=_token(name, entry, environment),
        skip_verify=_of_kind(f"{name}.skip_verify", entry.get("skip_verify", False), bool, "true or false"),
        **given,
    )
    return Cluster(name, access, numbers["places"], numbers["submissions"])


def _token(name: str, entry: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """What the file or the variable has. Variables begin with NOMAD_: no process of a stack inherits such a one."""
    file, variable = entry.get("token_file"), entry.get("token_variable")
    if file is not None and variable is not None:
        raise _bad(name, "token_file or token_variable, not both")
    if file is not None:
        return _read(f"{name}.token_file", file, _text_of, "the path of a file that the scheduler can read")
    if variable is None:
        return ""
    if not isinstance(variable, str) or not variable.startswith("NOMAD_"):
        raise _bad(f"{name}.token_variable", "the name of an environment variable that begins with NOMAD_")
    if not environment.get(variable):
        raise _bad(f"{name}.token_variable", "the name of an environment variable that the scheduler has")
    return environment[variable]


def _text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").strip()


def _read(where: str, value: Any, read: Callable[[str], str], takes: str) -> str:
    try:
        if not isinstance(value, str) or not value:
            raise ValueError
        return read(value)
    except (ValueError, OSError):
        raise _bad(where, takes) from None


def _of_kind(where: str, value: Any, kind: type, takes: str) -> Any:
    if type(value) is not kind:
        raise _bad(where, takes)
    return value


def _bad(where: str, takes: str) -> SettingError:
    return SettingError(f"SOJOURN_NOMAD_CLUSTERS cannot be used: {where}: it takes {takes}")
