"""The control plane as a WSGI application: API and dashboard over one platform. `serve` hands it to gunicorn."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any

import falcon
import redis

from sojourn.control_plane.api.auth import Gate
from sojourn.control_plane.api.batches import Batches
from sojourn.control_plane.api.bulk_actions import BulkActions
from sojourn.control_plane.api.cursor import Cursors
from sojourn.control_plane.api.deployments import Deployments
from sojourn.control_plane.api.edge import add_routes, keep_encoded_slashes
from sojourn.control_plane.api.encoding import to_json
from sojourn.control_plane.api.guard import Guard
from sojourn.control_plane.api.health import Health
from sojourn.control_plane.api.keys import Keys
from sojourn.control_plane.api.openapi import Page, document
from sojourn.control_plane.api.origins import Origins
from sojourn.control_plane.api.packets import Packets
from sojourn.control_plane.api.problems import CODES, Problem, of_engine, of_status
from sojourn.control_plane.api.projects import Projects
from sojourn.control_plane.api.public_tokens import HandleTokens, PublicTokens
from sojourn.control_plane.api.queues import Queues
from sojourn.control_plane.api.routes import ROUTES
from sojourn.control_plane.api.runs import Runs
from sojourn.control_plane.api.schedules import Schedules
from sojourn.control_plane.api.tasks import Tasks
from sojourn.control_plane.api.tokens import Tokens
from sojourn.control_plane.api.traces import Traces
from sojourn.control_plane.api.variables import Variables
from sojourn.control_plane.api.webhooks import Webhooks
from sojourn.control_plane.api.worker import Worker
from sojourn.control_plane.domain import allowance
from sojourn.control_plane.engine.errors import EngineError
from sojourn.control_plane.store import migrations
from sojourn.control_plane.store.database import Deadlock, StoreUnavailable
from sojourn.control_plane.store.seal import Seal
from sojourn.control_plane.wiring import Platform
from sojourn.web.routes import add_pages

log = logging.getLogger(__name__)

Params = dict[str, Any]


class App(falcon.App):
    """Falcon's, but an encoded slash stays inside its segment of the path."""

    def __call__(self, env: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        keep_encoded_slashes(env)
        body: Iterable[bytes] = super().__call__(env, start_response)
        return body


class SecurityHeaders:
    """Falcon middleware: what every answer carries unless its responder said otherwise."""

    def process_response(self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool) -> None:
        headers = resp._headers
        headers["x-content-type-options"] = "nosniff"
        if "cache-control" not in headers:
            headers["cache-control"] = "no-store"


def create_app(platform: Platform) -> App:
    """Every address of the API and the dashboard, over `platform`."""
    app = App(middleware=[SecurityHeaders(), Origins()])
    app.req_options.auto_parse_qs_csv = False
    app.req_options.keep_blank_qs_values = True
    app.resp_options.secure_cookies_by_default = False
    _add_error_handlers(app)
    gate = Gate(platform.access, platform.public_tokens, platform.credentials, platform.identities)
    guard = Guard(
        platform.call_buckets,
        allowance.read(platform.config.api_rate),
        allowance.read(platform.config.public_token_rate),
        platform.public_tokens,
        platform.runs.find,
    )
    add_routes(app, ROUTES, resources(platform), gate, guard, platform.clock)
    add_pages(app, platform, document)
    return app


def resources(platform: Platform) -> dict[str, object]:
    """What the routes' actions are looked up in."""
    cursors = Cursors(Seal(platform.config.master_key).derive("cursors"))
    handles = HandleTokens(platform.public_tokens)
    return {
        "tasks": Tasks(platform.triggering, platform.packets, handles),
        "packets": Packets(platform.packets, platform.grants, platform.clock),
        "runs": Runs(
            platform.runs,
            platform.run_lists,
            platform.versions,
            platform.executors,
            platform.checkpoints,
            platform.waits,
            platform.cancelling,
            platform.replaying,
            platform.results,
            platform.explaining,
            platform.steering,
            platform.annotating,
            platform.logs,
            platform.stored_schedules,
            platform.packets,
            cursors,
            platform.stored_bulk_actions,
        ),
        "traces": Traces(platform.runs, platform.run_lists, platform.versions, platform.waits, platform.logs),
        "bulk_actions": BulkActions(platform.bulk_actions, cursors),
        "variables": Variables(platform.variables, platform.config.api_url),
        "queues": Queues(platform.queues),
        "tokens": Tokens(platform.tokens, cursors, handles, platform.clock),
        "schedules": Schedules(platform.schedules, platform.backfilling),
        "webhooks": Webhooks(platform.webhooks),
        "batches": Batches(platform.batches, platform.packets, handles, platform.clock),
        "keys": Keys(platform.keys),
        "projects": Projects(platform.access, platform.config.api_url),
        "public_tokens": PublicTokens(platform.public_tokens),
        "deployments": Deployments(platform.deployments, platform.versions, cursors),
        "page": Page(),
        "health": Health(
            {
                "database": lambda: platform.database.rows("SELECT 1"),
                "queue": platform.redis.ping,
                "schema": lambda: _check_schema(platform),
            }
        ),
        "worker": Worker(
            platform.attempts,
            platform.identities,
            platform.deployments,
            platform.versions,
            platform.waiting,
            platform.freezing,
            platform.clock,
            image_limit=platform.config.checkpoint_limit_mb * 1024 * 1024,
        ),
    }


def _check_schema(platform: Platform) -> None:
    have, need = migrations.current(platform.database), migrations.latest()
    if have != need:
        raise RuntimeError(f"the database's schema is number {have}; this release works with {need}")
    if migrations.unfinished(platform.database):
        raise RuntimeError("runs of an earlier release are not in every list yet: let `migrate` come to its end")


def _add_error_handlers(app: falcon.App) -> None:
    app.add_error_handler(Exception, _on_unexpected)
    app.add_error_handler(falcon.HTTPError, _on_falcon)
    app.add_error_handler(StoreUnavailable, _on_unavailable)
    app.add_error_handler(redis.RedisError, _on_unavailable)
    app.add_error_handler(Deadlock, _on_unavailable)
    app.add_error_handler(EngineError, _on_engine)
    app.add_error_handler(Problem, _on_problem)


def _on_problem(req: falcon.Request, resp: falcon.Response, error: Problem, params: Params) -> None:
    resp.status = error.status
    resp.content_type = error.media_type
    resp.data = error.body()
    resp.set_headers(error.all_headers())


def _on_engine(req: falcon.Request, resp: falcon.Response, error: EngineError, params: Params) -> None:
    _on_problem(req, resp, of_engine(error), params)


def _on_falcon(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: Params) -> None:
    given = {name.lower(): value for name, value in dict(error.headers or {}).items()}
    headers = {"Allow": given["allow"]} if "allow" in given else None
    problem = Problem(of_status(error.status_code), headers=headers)
    problem.status = error.status_code
    _on_problem(req, resp, problem, params)


def _on_unavailable(req: falcon.Request, resp: falcon.Response, error: Exception, params: Params) -> None:
    log.warning("%s %s: %s: %s", req.method, _shown(req), type(error).__name__, error)
    _on_problem(req, resp, Problem("UNAVAILABLE"), params)


#: What follows these in an address proves itself, as a key does.
_SECRET = re.compile(r"(/objects/|/callback/)[^/]+")


def _shown(req: falcon.Request) -> str:
    """A request's path as a log may have it."""
    return _SECRET.sub(r"\1…", req.path.replace("\0", "%2F"))


def _on_unexpected(req: falcon.Request, resp: falcon.Response, error: Exception, params: Params) -> None:
    request_id = secrets.token_hex(8)
    log.error("request %s: %s %s failed", request_id, req.method, _shown(req), exc_info=error)
    internal = CODES["INTERNAL"]
    resp.status = internal.status
    resp.content_type = "application/json"
    body = {"error": internal.meaning, "code": "INTERNAL", "nextStep": internal.todo, "requestId": request_id}
    resp.data = to_json(body)
