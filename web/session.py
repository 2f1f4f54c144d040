"""Who may see the dashboard: a one-time code becomes a session, kept in a cookie that scripts cannot read."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

import falcon

from sojourn.control_plane.store.access import Access

COOKIE = "sojourn_session"
_SECRET = re.compile(r"[A-Za-z0-9]{20,100}")
_LIFE_SECONDS = 7 * 24 * 3600


class Refused(Exception):
    """No page for this request; `status` and `message` say why."""

    def __init__(self, status: int, title: str, message: str):
        super().__init__(title)
        self.status, self.title, self.message = status, title, message


class Sessions:
    """`public_url` and `host`: the names under which the dashboard may be asked for, besides loopback's."""

    def __init__(self, access: Access, clock: Callable[[], datetime], public_url: str, host: str):
        self._access = access
        self._clock = clock
        self._secure = public_url.startswith("https:")
        self._hosts = {"localhost", (urlsplit(public_url).hostname or "").lower(), host.lower()}

    def organization(self, req: falcon.Request) -> str:
        """The organization that the request's session may see, or `Refused`."""
        self.check_host(req)
        secret = req.cookies.get(COOKIE, "")
        found = self._access.dashboard_organization(secret, self._clock()) if _SECRET.fullmatch(secret) else None
        if found is None:
            raise Refused(
                401,
                "Sign in",
                "This dashboard opens with a one-time link: run `sojourn status` where the stack runs and follow it.",
            )
        return found

    def enter(self, req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """Takes a one-time code and sets the session's cookie; a code of no use leaves things as they are."""
        self.check_host(req)
        secret = self._access.open_dashboard_session(code, self._clock()) if _SECRET.fullmatch(code) else None
        if secret is not None:
            resp.set_cookie(
                COOKIE,
                secret,
                max_age=_LIFE_SECONDS,
                path="/",
                secure=self._secure,
                http_only=True,
                same_site="Lax",
            )

    def check_host(self, req: falcon.Request) -> None:
        """Refuses names that are not this server's, so that another site's name cannot be pointed here."""
        host = (req.host or "").lower().strip("[]")
        if host not in self._hosts and not _is_address(host):
            raise Refused(421, "Wrong address", "This server is not known by that name; set SOJOURN_API_URL to it.")


def _is_address(host: str) -> bool:
    """A bare address cannot be a name that somebody else points here."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
