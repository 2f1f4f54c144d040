"""Where environment variables are set."""

from __future__ import annotations

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.shape import SuccessReply
from sojourn.control_plane.api.models.variables import (
    ImportBody,
    ImportedReply,
    ResolvedReply,
    ValueBody,
    VariableBody,
    VariableReply,
    VariablesReply,
)
from sojourn.control_plane.api.routes.route import KIB, Route

_ENVIRONMENT = ("ENVIRONMENT_NOT_FOUND",)
_VARIABLE = (*_ENVIRONMENT, "VARIABLE_NOT_FOUND")
_CHANGED_VARIABLES = (*_ENVIRONMENT, "VARIABLE_INVALID", "TOO_MANY_VARIABLES")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/api/v1/projects/{ref}/envvars/{env}",
        "variables.list",
        Caller.PROJECT,
        "List environment variables; secrets without their values",
        VariablesReply,
        codes=_ENVIRONMENT,
        needs=needs.READ_VARIABLES,
    ),
    Route(
        "POST",
        "/api/v1/projects/{ref}/envvars/{env}",
        "variables.create",
        Caller.PROJECT,
        "Set a variable; one that is there gets the new value",
        SuccessReply,
        body=VariableBody,
        limit=512 * KIB,
        codes=_CHANGED_VARIABLES,
        needs=needs.WRITE_VARIABLES,
    ),
    Route(
        "POST",
        "/api/v1/projects/{ref}/envvars/{env}/import",
        "variables.bring",
        Caller.PROJECT,
        "Set many variables, all or none; or a form with `variables`, a dotenv file, and `override`, `isSecret`",
        ImportedReply,
        streams=True,
        takes="application/json",
        line=ImportBody,
        codes=(*_CHANGED_VARIABLES, "INVALID_JSON", "BODY_TOO_DEEP", "BODY_INVALID", "LENGTH_REQUIRED"),
        needs=needs.WRITE_VARIABLES,
    ),
    Route(
        "GET",
        "/api/v1/projects/{ref}/envvars/{env}/{name}",
        "variables.retrieve",
        Caller.PROJECT,
        "Retrieve a variable; a secret without its value",
        VariableReply,
        codes=_VARIABLE,
        needs=needs.READ_VARIABLES,
    ),
    Route(
        "PUT",
        "/api/v1/projects/{ref}/envvars/{env}/{name}",
        "variables.update",
        Caller.PROJECT,
        "Give a variable another value",
        SuccessReply,
        body=ValueBody,
        limit=512 * KIB,
        codes=(*_CHANGED_VARIABLES, "VARIABLE_NOT_FOUND"),
        needs=needs.WRITE_VARIABLES,
    ),
    Route(
        "POST",
        "/api/v1/projects/{ref}/envvars/{env}/{name}",
        "variables.update_by_post",
        Caller.PROJECT,
        "The same, for clients that post",
        SuccessReply,
        body=ValueBody,
        limit=512 * KIB,
        codes=(*_CHANGED_VARIABLES, "VARIABLE_NOT_FOUND"),
        needs=needs.WRITE_VARIABLES,
    ),
    Route(
        "DELETE",
        "/api/v1/projects/{ref}/envvars/{env}/{name}",
        "variables.delete",
        Caller.PROJECT,
        "Delete a variable; runs get it no longer",
        SuccessReply,
        codes=_VARIABLE,
        needs=needs.WRITE_VARIABLES,
    ),
    Route(
        "GET",
        "/api/v1/projects/{ref}/envvars",
        "variables.resolve",
        Caller.ENVIRONMENT,
        "What a run is given, in clear: secrets, too",
        ResolvedReply,
        codes=_ENVIRONMENT,
        needs=needs.OPEN_VARIABLES,
    ),
)
