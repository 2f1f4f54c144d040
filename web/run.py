"""`/runs/{id}`: one run with its timeline, attempts, log, payload and output."""

from __future__ import annotations

import json

import falcon
from jinja2 import Environment as Templates

from sojourn.control_plane.domain.lifecycle import is_final
from sojourn.control_plane.store.records import Run
from sojourn.control_plane.wiring import Platform
from sojourn.web.session import NoSession, Sessions, secure

_LINES = 500


class RunPage:
    """The whole page, or with `?fragment=1` only what changes."""

    def __init__(self, platform: Platform, sessions: Sessions, templates: Templates):
        self._platform = platform
        self._sessions = sessions
        self._templates = templates

    def on_get(self, request: falcon.Request, response: falcon.Response, run_id: str) -> None:
        secure(response)
        try:
            environments = self._sessions.environments(request)
        except NoSession:
            response.status = falcon.HTTP_401
            response.text = self._templates.get_template("sign_in.html").render()
            return
        run = self._find(run_id, [environment.id for environment in environments])
        if run is None:
            response.status = falcon.HTTP_404
            response.text = self._templates.get_template("not_found.html").render()
            return
        version = self._platform.versions.find(run.version_id) if run.version_id else None
        lines, _ = self._platform.logs.read(run.environment_id, run.id, after=None, limit=_LINES)
        name = "_fragments/run.html" if request.get_param("fragment") else "run.html"
        response.text = self._templates.get_template(name).render(
            run=run,
            live=not is_final(run.status),
            version=version,
            history=self._platform.runs.history(run.id),
            attempts=self._platform.runs.attempts(run.id),
            lines=lines,
            payload=_pretty(run.payload),
            output=_pretty(run.output),
            environment=next(e for e in environments if e.id == run.environment_id),
        )

    def _find(self, run_id: str, environments: list[str]) -> Run | None:
        if not run_id.isascii() or not run_id.isprintable() or len(run_id) > 64:
            return None
        for environment in environments:
            run = self._platform.runs.find(environment, run_id)
            if run is not None:
                return run
        return None


def _pretty(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
