"""The table of the dashboard's pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import falcon

from sojourn.control_plane.wiring import Platform
from sojourn.web.pages import Pages, Static, nowhere
from sojourn.web.reference import ReferencePage
from sojourn.web.run import RunPage
from sojourn.web.runs import RunsPage
from sojourn.web.session import Refused, Sessions


def add_pages(app: falcon.App, platform: Platform, api: Callable[[], Mapping[str, Any]]) -> None:
    """Adds the pages to the application. All but the static files and the API's reference need a session.

    `api` gives the OpenAPI page.
    """
    config = platform.config
    pages = Pages()
    sessions = Sessions(platform.access, platform.clock, config.api_url, config.host)
    table = {
        "/": RunsPage(pages, sessions, platform.access, platform.run_lists, platform.versions, platform.clock),
        "/runs/{run}": RunPage(
            pages,
            sessions,
            platform.access,
            platform.runs,
            platform.versions,
            platform.executors,
            platform.checkpoints,
            platform.waits,
            platform.logs,
            platform.packets,
            platform.clock,
        ),
        "/reference": ReferencePage(pages, api),
        "/static/{name}": Static(),
    }
    for path, resource in table.items():
        app.add_route(path, resource)
    app.add_sink(nowhere)
    app.add_error_handler(Refused, pages.refuse)
