"""Rendering: templates with everything escaped, headers that let nothing foreign in, pages that are not sent twice."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

import falcon
from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined

from sojourn.sdk.protocol import VERSION
from sojourn.web import filters
from sojourn.web.session import Refused

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_FILTERS = (
    "colour", "compact", "machine_moment", "marked", "moment", "pretty", "size", "span", "visible", "words",
)  # fmt: skip
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


class Pages:
    """Puts templates into responses."""

    def __init__(self) -> None:
        self._templates = Templates(
            loader=PackageLoader("sojourn.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["release"] = VERSION
        for name in _FILTERS:
            self._templates.filters[name] = getattr(filters, name)

    def show(self, req: falcon.Request, resp: falcon.Response, template: str, **values: Any) -> None:
        """Renders a template, or answers 304 when the browser has the same text already."""
        data = self._templates.get_template(template).render(**values).encode("utf-8", "replace")
        tag = f'"{hashlib.sha256(data).hexdigest()[:24]}"'
        _set_headers(resp)
        resp.set_header("ETag", tag)
        if req.get_header("If-None-Match") == tag:
            resp.status = 304
        else:
            resp.content_type = "text/html; charset=utf-8"
            resp.data = data

    def refuse(self, req: falcon.Request, resp: falcon.Response, error: Refused, params: dict[str, Any]) -> None:
        """Falcon's handler for `Refused`."""
        leads_back = error.status == 404
        self.show(req, resp, "refused.html", title=error.title, message=error.message, leads_back=leads_back)
        resp.status = error.status


def nowhere(req: falcon.Request, resp: falcon.Response, **_: str) -> None:
    """Falcon's sink: every address that is neither a page's nor the API's is a page to browsers, an error to programs."""
    if req.method in ("GET", "HEAD") and "text/html" in req.accept and not req.path.startswith("/api/"):
        raise Refused(404, "No such page", "The dashboard has runs, and a page for each of them.")
    raise falcon.HTTPRouteNotFound


class Static:
    """The package's own style, script and icon."""

    def __init__(self) -> None:
        folder = files("sojourn.web") / "static"
        self._files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """A file."""
        data = self._files.get(name)
        if data is None:
            raise falcon.HTTPNotFound
        resp.content_type = _TYPES[name.rpartition(".")[2]]
        resp.set_header("Cache-Control", "public, max-age=3600")
        resp.data = data

    on_head = on_get


def _set_headers(resp: falcon.Response) -> None:
    resp.set_headers(
        {
            "Cache-Control": "no-cache, private",
            "Content-Security-Policy": _POLICY,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "same-origin",
            "X-Frame-Options": "DENY",
        }
    )
