"""Where holders of personal and organization tokens find their projects."""

from __future__ import annotations

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.projects import (
    EnvironmentReply,
    OpenedReply,
    ProjectReply,
    ProjectsReply,
    WhoamiQuery,
    WhoamiReply,
)
from sojourn.control_plane.api.routes.route import Route

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/api/v1/environment",
        "projects.opened",
        Caller.ENVIRONMENT,
        "Which environment the key opens, and of which project",
        OpenedReply,
        needs=needs.HAND_ON,
        counted=False,
    ),
    Route(
        "GET",
        "/api/v2/whoami",
        "projects.whoami",
        Caller.PERSON,
        "Whose token it is, and what the dashboard's address is",
        WhoamiReply,
        query=WhoamiQuery,
    ),
    Route(
        "GET",
        "/api/v1/projects",
        "projects.list",
        Caller.PERSON,
        "List the organization's projects",
        ProjectsReply,
    ),
    Route(
        "GET",
        "/api/v1/projects/{ref}",
        "projects.retrieve",
        Caller.PERSON,
        "Retrieve a project",
        ProjectReply,
        codes=("PROJECT_NOT_FOUND",),
    ),
    Route(
        "GET",
        "/api/v1/projects/{ref}/{env}",
        "projects.environment",
        Caller.PERSON,
        "An environment's root key, and where it is used",
        EnvironmentReply,
        codes=("PROJECT_NOT_FOUND",),
    ),
)
