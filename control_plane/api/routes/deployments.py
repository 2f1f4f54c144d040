"""Where code is deployed."""

from __future__ import annotations

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.deployments import (
    DeployBody,
    DeployedReply,
    DeploymentDetailReply,
    DeploymentReply,
    DeploymentsQuery,
    DeploymentsReply,
    PromotedReply,
    PromoteQuery,
)
from sojourn.control_plane.api.models.shape import Nothing
from sojourn.control_plane.api.routes.route import MIB, Route

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/api/v1/deployments",
        "deployments.deploy",
        Caller.ENVIRONMENT,
        "Deploy a version and make it current",
        DeployedReply,
        body=DeployBody,
        limit=50 * MIB,
        codes=("MANIFEST_INVALID", "ARCHIVE_INVALID"),
        needs=needs.DEPLOY,
    ),
    Route(
        "GET",
        "/api/v1/deployments/current",
        "deployments.current",
        Caller.ENVIRONMENT,
        "The version that new runs start on",
        DeploymentReply,
        codes=("DEPLOYMENT_NOT_FOUND",),
        needs=needs.READ_DEPLOYMENTS,
        counted=False,
    ),
    Route(
        "GET",
        "/api/v1/deployments",
        "deployments.page",
        Caller.ENVIRONMENT,
        "List versions, newest first",
        DeploymentsReply,
        query=DeploymentsQuery,
        codes=("CURSOR_INVALID",),
        needs=needs.READ_DEPLOYMENTS,
    ),
    Route(
        "GET",
        "/api/v1/deployments/{deployment}",
        "deployments.retrieve",
        Caller.ENVIRONMENT,
        "Retrieve a version by its id or its number",
        DeploymentDetailReply,
        codes=("DEPLOYMENT_NOT_FOUND",),
        needs=needs.READ_DEPLOYMENTS,
    ),
    Route(
        "POST",
        "/api/v1/deployments/{deployment}/promote",
        "deployments.promote",
        Caller.ENVIRONMENT,
        "Let new runs start on a version that was deployed before",
        PromotedReply,
        body=Nothing,
        query=PromoteQuery,
        codes=("DEPLOYMENT_NOT_FOUND", "DEPLOYMENT_OLDER"),
        needs=needs.DEPLOY,
    ),
)
