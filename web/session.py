"""Sessions of the dashboard: a one-time code becomes a cookie that no script can read."""

from __future__ import annotations

import falcon

from sojourn.control_plane.store.records import Environment
from sojourn.control_plane.wiring import Platform

_COOKIE = "sojourn_session"
_WEEK = 7 * 24 * 3600


class NoSession(Exception):
    """Nobody is signed in; the page says how to."""


class Sessions:
    """Tells which environment a visitor looks at."""

    def __init__(self, platform: Platform):
        self._platform = platform

    def sign_in(self, request: falcon.Request, response: falcon.Response) -> bool:
        """Whether the request brought a code that was good: it is now at the page without it, with a cookie."""
        code = request.get_param("code")
        if not code:
            return False
        session = self._platform.access.open_dashboard_session(code, self._platform.clock())
        if session is None:
            return False
        response.set_cookie(
            _COOKIE,
            session,
            max_age=_WEEK,
            path="/",
            http_only=True,
            secure=request.scheme == "https",
            same_site="Lax",
        )
        response.status = falcon.HTTP_303
        response.set_header("Location", "/")
        return True

    def environments(self, request: falcon.Request) -> list[Environment]:
        """The environments that the visitor may see; `NoSession` without a session."""
        session = request.cookies.get(_COOKIE)
        now = self._platform.clock()
        organization = self._platform.access.dashboard_organization(session, now) if session else None
        if organization is None:
            raise NoSession
        return self._platform.access.environments(organization)


def secure(response: falcon.Response) -> None:
    """Headers that keep a page to itself."""
    response.content_type = falcon.MEDIA_HTML
    response.set_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
    response.set_header("X-Content-Type-Options", "nosniff")
    response.set_header("Referrer-Policy", "no-referrer")
    response.set_header("Cache-Control", "no-store")
