"""What every executor is told of its sandbox: the configuration, and where the platform's own services are."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any
from urllib.parse import urlsplit

from sojourn.control_plane.config import Config

log = logging.getLogger(__name__)

#: The platform's services that no task reaches, by the variables that name them beside the configuration.
_OTHERS = ("CLICKHOUSE_URL", "NOMAD_ADDR", "CONSUL_HTTP_ADDR", "VAULT_ADDR")


def sandbox(config: Config) -> str | dict[str, Any]:
    """The shim's setting `sandbox`."""
    if config.sandbox == "off":
        return "off"
    return {
        "mode": config.sandbox,
        "network": config.sandbox_network,
        "allow": _parts(config.sandbox_allow),
        "deny": [*_parts(config.sandbox_deny), *_services(config)],
        "forward": _parts(config.sandbox_forward),
        "readable": _parts(config.sandbox_readable),
        "writable": _parts(config.sandbox_writable),
        "uid": config.sandbox_uid,
        "pids": config.sandbox_processes,
        "tmp_bytes": config.sandbox_tmp_mb << 20,
    }


def _services(config: Config) -> list[str]:
    """Networks of one address each: where the datastores and Nomad are, should they be outside the private ranges."""
    urls = [config.database_url, config.redis_url, *(os.environ.get(name, "") for name in _OTHERS)]
    found: set[str] = set()
    for url in urls:
        host = urlsplit(url if "://" in url else f"//{url}").hostname
        if not host:
            continue
        try:
            found |= {str(each[4][0]) for each in socket.getaddrinfo(host, None, socket.AF_INET)}
        except OSError:
            log.warning("%s has no address, so sandboxes are not kept from it by name", host)
    return sorted(f"{address}/32" for address in found if not address.startswith("127."))


def _parts(text: str) -> list[str]:
    return text.split(",") if text else []
