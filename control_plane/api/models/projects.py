"""Projects, for whoever holds a personal or an organization token."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, RootModel, StringConstraints

from sojourn.control_plane.api.models.shape import Query, Reply
from sojourn.control_plane.api.models.texts import identifier


class WhoamiQuery(Query):
    """Of which project something is to be told, too."""

    projectRef: Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(identifier)] | None = None


class WhoamiProject(Reply):
    """The project that was asked about."""

    name: str
    url: str
    orgTitle: str


class WhoamiReply(Reply):
    """Who calls."""

    userId: str = Field(description="The token's id; for an organization's token `org_` and its id.")
    email: str = Field(description="Nobody's: a platform of one's own knows no users.")
    dashboardUrl: str
    project: WhoamiProject | None = None


class OrganizationReply(Reply):
    """An organization."""

    id: str
    title: str
    slug: str
    createdAt: datetime


class ProjectReply(Reply):
    """A project."""

    id: str
    externalRef: str
    name: str
    slug: str
    createdAt: datetime
    organization: OrganizationReply


class ProjectsReply(RootModel[list[ProjectReply]]):
    """Projects, by their slugs."""


class EnvironmentReply(Reply):
    """What opens an environment."""

    apiKey: str
    name: str
    apiUrl: str
    projectId: str


class ProjectName(Reply):
    """A project, by its ref and its name."""

    ref: str
    name: str


class OpenedReply(Reply):
    """The environment that a key opens."""

    id: str
    slug: str
    type: str = Field(description="DEVELOPMENT, STAGING, PRODUCTION or PREVIEW.")
    project: ProjectName
