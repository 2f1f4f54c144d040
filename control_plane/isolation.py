"""What every executor is told of its sandbox: the configuration, and where the platform's own services are."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from sojourn.control_plane.config import Config

log = logging.getLogger(__name__)

#: The platform's services that no task reaches, by the variables that name them beside the configuration. Where Nomad is
#: the scheduler alone knows, and tells each job.
_OTHERS = ("CLICKHOUSE_URL", "CONSUL_HTTP_ADDR", "VAULT_ADDR")


def sandbox(config: Config) -> str | dict[str, Any]:
    """The shim's setting `sandbox`."""
    if config.sandbox == "off":
        return "off"
    allowed = _parts(config.sandbox_allow)
    urls = [config.database_url, config.redis_url, config.api_url, *(os.environ.get(name, "") for name in _OTHERS)]
    return {
        "mode": config.sandbox,
        "network": config.sandbox_network,
        "allow": allowed,
        "deny": [*_parts(config.sandbox_deny), *(each for each in networks_of(urls) if each not in allowed)],
        "forward": _parts(config.sandbox_forward),
        "readable": _parts(config.sandbox_readable),
        "writable": _parts(config.sandbox_writable),
        "uid": config.sandbox_uid,
        "pids": config.sandbox_processes,
        "tmp_bytes": config.sandbox_tmp_mb << 20,
    }


def networks_of(urls: Iterable[str]) -> list[str]:
    """Networks of one address each: where the platform's services are, should they be outside the private ranges.

    The API's is among them: tasks reach the API by the relay, and nothing else there.
    """
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
