"""Browsers of any origin may call the API: what opens it is in a header that no browser sends by itself."""

from __future__ import annotations

import re

import falcon

_EXPOSED = "x-trigger-jwt, x-trigger-jwt-claims, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, retry-after"
_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
#: What a browser says that it is going to send: names of headers, and nothing that could end a line.
_NAMES = re.compile(r"[A-Za-z0-9_, -]{1,2000}")
_DAY = "86400"


class Origins:
    """Falcon middleware: answers `OPTIONS` below `/api/`, and lets pages read the answers to what they sent."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        if req.method != "OPTIONS" or not req.path.startswith("/api/"):
            return
        resp.data = b"{}"
        resp.content_type = "application/json"
        asked = req.get_header("access-control-request-headers") or ""
        resp.set_headers(
            {
                "access-control-allow-methods": _METHODS,
                "access-control-allow-headers": asked if _NAMES.fullmatch(asked) else "authorization, content-type",
                "access-control-max-age": _DAY,
            }
        )
        resp.complete = True

    def process_response(self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool) -> None:
        env = req.env
        if "HTTP_ORIGIN" in env and env["PATH_INFO"].startswith("/api/"):
            resp.set_headers({"access-control-allow-origin": "*", "access-control-expose-headers": _EXPOSED})
