"""The control plane as a WSGI application."""

from __future__ import annotations

from typing import Any

import falcon

from sojourn.control_plane.api import problems
from sojourn.control_plane.api.routes import ROUTES
from sojourn.control_plane.wiring import Platform
from sojourn.web import routes as pages


def create_app(platform: Platform) -> falcon.App:
    """Every route of the table and every page, over a connected platform."""
    app = falcon.App()
    app.req_options.strip_url_path_trailing_slash = False
    app.req_options.auto_parse_qs_csv = False
    app.req_options.keep_blank_qs_values = True
    for route in ROUTES:
        app.add_route(route.template, route.resource(platform))
    pages.add(app, platform)
    problems.install(app)
    app.add_sink(_nowhere)
    return app


def _nowhere(request: falcon.Request, response: falcon.Response, **_: Any) -> None:
    raise problems.Problem("NOT_FOUND")
