"""`/`: the newest runs of an environment."""

from __future__ import annotations

import falcon
from jinja2 import Environment as Templates

from sojourn.control_plane.store.runs import RunFilters
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.protocol import RunStatus
from sojourn.web import filters
from sojourn.web.session import NoSession, Sessions, secure

_SHOWN = 50


class RunsPage:
    """The whole page, or with `?fragment=1` only its table."""

    def __init__(self, platform: Platform, sessions: Sessions, templates: Templates):
        self._platform = platform
        self._sessions = sessions
        self._templates = templates

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        secure(response)
        if self._sessions.sign_in(request, response):
            return
        try:
            environments = self._sessions.environments(request)
        except NoSession:
            response.status = falcon.HTTP_401
            response.text = self._templates.get_template("sign_in.html").render()
            return
        slug = request.get_param("env") or "dev"
        environment = next((e for e in environments if e.slug == slug), environments[0])
        status = request.get_param("status")
        statuses = (status,) if status in set(RunStatus) else ()
        page = self._platform.runs.page(environment.id, RunFilters(statuses=statuses), size=_SHOWN)
        now = self._platform.clock()
        name = "_fragments/runs.html" if request.get_param("fragment") else "runs.html"
        response.text = self._templates.get_template(name).render(
            runs=page.runs,
            environment=environment,
            environments=environments,
            statuses=list(RunStatus),
            status=status,
            ages={run.id: filters.age(run.created_at, now) for run in page.runs},
        )
