"""python-nomad as Sojourn uses it: every setting said, none taken from the environment, certificates checked."""

from __future__ import annotations

from typing import Any

import nomad
import requests
from nomad.api.exceptions import BaseNomadException, URLNotAuthorizedNomadException, URLNotFoundNomadException
from requests.adapters import HTTPAdapter

from sojourn.control_plane.nomad_access import NomadAccess

__all__ = [
    "BaseNomadException",
    "URLNotAuthorizedNomadException",
    "URLNotFoundNomadException",
    "nomad_client",
    "reason",
    "signing_keys",
]


def nomad_client(access: NomadAccess, *, timeout: float = 10) -> nomad.Nomad:
    """A client of a cluster; `timeout` in seconds holds for each request. Not to be printed: python-nomad shows the token.

    python-nomad takes what it is not given from the environment, and checks no certificate unless told to.
    """
    return nomad.Nomad(
        address=access.address,
        token=access.token or None,
        namespace=access.namespace,
        region=access.region or None,
        verify=(access.ca_cert or True) if not access.skip_verify else False,
        cert=(access.client_cert, access.client_key) if access.client_cert else (),
        timeout=timeout,
        session=_session(access),
    )


def signing_keys(client: nomad.Nomad) -> list[dict[str, Any]]:
    """The keys that workload identities are checked by, as JWKs; public, and outside of what python-nomad asks.

    `BaseNomadException` when they cannot be had.
    """
    session: requests.Session = client.jobs.session
    options: dict[str, Any] = {"timeout": client.timeout, "verify": client.verify, "cert": client.cert or None}
    options["params"] = {"region": client.region} if client.region else {}
    try:
        response = session.get(f"{client.address}/.well-known/jwks.json", **options)
        if response.ok:
            return list(response.json()["keys"])
    except (requests.RequestException, ValueError, KeyError) as error:
        raise BaseNomadException(error) from error
    raise BaseNomadException(response)


def reason(error: Exception) -> str:
    """What Nomad or the way to it said, in one line. No token is in it: those travel in a header."""
    told = getattr(error, "nomad_resp", error)
    if isinstance(told, requests.Response):
        text = told.text.strip().splitlines()
        return f"{told.status_code} {text[0][:300] if text else told.reason}"
    root = told
    while isinstance(root, Exception) and root.__context__ is not None:
        root = root.__context__
    return (str(root).splitlines() or [type(root).__name__])[0][:300]


def _session(access: NomadAccess) -> requests.Session:
    session = requests.Session()
    # As Nomad's own client: a proxy is never asked for this machine.
    session.trust_env = not access.is_loopback
    if access.tls_server_name:
        session.mount("https://", _NamedServer(access.tls_server_name))
    return session


class _NamedServer(HTTPAdapter):
    """Expects the certificate of a server by another name than the URL's host: Nomad's are `server.<region>.nomad`."""

    def __init__(self, name: str):
        self._name = name
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, server_hostname=self._name, assert_hostname=self._name, **options)
