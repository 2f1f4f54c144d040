"""The runs of an environment, newest first: the dashboard's first page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import falcon

from sojourn.control_plane.domain import ids
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.database import TooSlow
from sojourn.control_plane.store.records import Environment, Run
from sojourn.control_plane.store.run_lists import Page, RunFilters, RunLists
from sojourn.control_plane.store.versions import Versions
from sojourn.sdk.protocol import FINAL_STATUSES
from sojourn.web import run_filters
from sojourn.web.pages import Pages
from sojourn.web.session import Refused, Sessions

_SIZE = 25


class RunsPage:
    """`GET /`; with `fragment=1` the table alone, for the page to renew itself."""

    def __init__(
        self,
        pages: Pages,
        sessions: Sessions,
        access: Access,
        lists: RunLists,
        versions: Versions,
        clock: Callable[[], datetime],
    ):
        self._pages = pages
        self._sessions = sessions
        self._access = access
        self._lists = lists
        self._versions = versions
        self._clock = clock

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The page; `code` is a one-time code that opens a session."""
        code = _single(req, "code")
        if code:
            self._sessions.enter(req, resp, code)
            resp.status = 303
            resp.location = "/"
            return
        environments = self._access.environments(self._sessions.organization(req))
        environment = chosen(environments, _single(req, "env"))
        narrowed = run_filters.chosen(lambda name: _given(req, name), self._clock())
        page = self._page(req, environment, narrowed.filters)
        template = "_fragments/runs.html" if _single(req, "fragment") else "runs.html"
        self._pages.show(
            req,
            resp,
            template,
            environments=environments,
            environment=environment,
            rows=[self._row(run) for run in page.runs],
            fields=(run_filters.FIRST, run_filters.MORE),
            texts=narrowed.texts,
            query=urlencode({"env": environment.slug, **narrowed.texts}, doseq=True),
            page=page,
            first=not (_cursor(req, "after") or _cursor(req, "before")),
            back=_cursor(req, "before") is not None,
            version_deployed=self._versions.current(environment.id),
        )

    on_head = on_get

    def _page(self, req: falcon.Request, environment: Environment, filters: RunFilters) -> Page:
        after, before = _cursor(req, "after"), _cursor(req, "before")
        try:
            return self._lists.page(environment.id, filters, after=after, before=before, size=_SIZE)
        except TooSlow:
            raise Refused(422, "That takes too long", "Narrow it by a time, too, as runs of the last hours.") from None

    def _row(self, run: Run) -> dict[str, Any]:
        version = self._versions.find(run.version_id) if run.version_id else None
        took = run.finished_at - run.executed_at if run.finished_at and run.executed_at else None
        return {
            "run": run,
            "version": version.number if version else "",
            "took": took,
            "runs_since": run.executed_at if run.status not in FINAL_STATUSES else None,
        }


def chosen(environments: list[Environment], wanted: str) -> Environment:
    """The environment of that slug or id; the first one if none is named."""
    for environment in environments:
        if wanted in (environment.slug, environment.id):
            return environment
    if wanted or not environments:
        raise Refused(404, "No such environment", "It may have been renamed or removed.")
    return environments[0]


def _given(req: falcon.Request, name: str) -> str | list[str]:
    """A parameter's text or, where it came more than once, each one's."""
    found: str | list[str] = req.params.get(name, "")
    return "" if any("\x00" in text for text in found) else found


def _single(req: falcon.Request, name: str) -> str:
    value = req.params.get(name, "")
    return value if isinstance(value, str) and "\x00" not in value else ""


def _cursor(req: falcon.Request, name: str) -> str | None:
    value = _single(req, name)
    return value if ids.is_id(value, "run") else None
