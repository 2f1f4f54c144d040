"""How a Nomad cluster is reached. Whoever holds a value of this may act on the cluster: it goes to the scheduler alone."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from sojourn.control_plane.config import Config, SettingError

#: The namespace that is meant when none is named: Sojourn has one of its own, never Nomad's `default`.
NAMESPACE = "sojourn"
#: Where tasks of the driver exec find an interpreter with Sojourn on the private Nomad.
CHROOT_HOME = "/opt/sojourn"


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
