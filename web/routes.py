"""The pages: what runs there are, and one run. Behind a session that a one-time code opens."""

from __future__ import annotations

from typing import Any

import falcon
from jinja2 import Environment as Templates
from jinja2 import PackageLoader, select_autoescape

from sojourn.control_plane.wiring import Platform
from sojourn.web import filters
from sojourn.web.run import RunPage
from sojourn.web.runs import RunsPage
from sojourn.web.session import Sessions


def add(app: falcon.App, platform: Platform) -> None:
    """Mounts every page and its fragment."""
    templates = Templates(loader=PackageLoader("sojourn.web"), autoescape=select_autoescape(), trim_blocks=True)
    templates.filters |= {"colour": filters.colour, "duration": filters.duration}
    sessions = Sessions(platform)
    pages: tuple[tuple[str, Any], ...] = (
        ("/", RunsPage(platform, sessions, templates)),
        ("/runs/{run_id}", RunPage(platform, sessions, templates)),
    )
    for path, page in pages:
        app.add_route(path, page)
