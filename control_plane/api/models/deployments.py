"""Versions of code."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.models.lists import Listed, Pagination
from sojourn.control_plane.api.models.shape import PLAIN, Query, QueueName, Reply, Strict
from sojourn.control_plane.api.models.texts import MAX_NAME_CHARS, Duration, ExternalId, Moment

#: A reference to a container image: registry and path, then a tag, a digest or both.
IMAGE = (
    r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$"
)


class DeployBody(Strict):
    """A version: what indexing found, and the files as a base64 zip whose tree has the hash `contentHash`."""

    manifest: dict[str, Any]
    contentHash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    archive: Annotated[str, patterns.BASE64]
    image: Annotated[str, StringConstraints(pattern=IMAGE, max_length=MAX_NAME_CHARS)] | None = Field(
        default=None, description="A container image: where executors run by docker, it wins over the site's."
    )
    externalId: ExternalId | None = Field(
        default=None, description="A name for the version, such as a commit, that triggers may ask for; blank is none."
    )


class DeploymentsQuery(Query):
    """Which versions, newest first."""

    status: Listed | None = Field(default=None, description="Statuses, with commas between; all there are is DEPLOYED.")
    period: Duration | None = Field(default=None, description="The last so long, like 7d.")
    since: Moment | None = Field(default=None, alias="from", description="A date or ms since the epoch.")
    until: Moment | None = Field(default=None, alias="to", description="A date or ms since the epoch.")
    size: Annotated[int, Field(ge=1, le=100), PLAIN] = Field(default=20, alias="page[size]")
    after: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(default=None, alias="page[after]")


class PromoteQuery(Query):
    """Whether it may be an older version than the current one."""

    allowRollbacks: Literal["true", "false"] | None = None


class DeployedReply(Reply):
    """`isCached`: the same content was current already."""

    id: str
    version: str
    contentHash: str
    tasks: list[str]
    isCached: bool


class TaskItem(Reply):
    """A task of a version."""

    id: str
    file: str
    export: str
    description: str | None = None
    queue: QueueName
    machine: str
    retry: dict[str, Any]
    maxDuration: int | None = None
    ttl: int | None = None
    payloadSchema: dict[str, Any] | None = None
    freeze: bool | None = None
    schedule: dict[str, Any] | None = None


class DeploymentReply(Reply):
    """The current version."""

    id: str
    status: str
    version: str
    shortCode: str
    isCurrent: bool
    contentHash: str
    runtime: str
    runtimeVersion: str
    sdkVersion: str
    image: str | None = None
    externalId: str | None = None
    createdAt: datetime
    deployedAt: datetime
    tasks: list[TaskItem]


class DeploymentItem(Reply):
    """A version in a list."""

    id: str
    status: str
    version: str
    shortCode: str
    isCurrent: bool = Field(description="New runs start on it.")
    runtime: str
    runtimeVersion: str
    createdAt: datetime
    deployedAt: datetime


class DeploymentsReply(Reply):
    """A page of versions, newest first."""

    data: list[DeploymentItem]
    pagination: Pagination


class WorkerTask(Reply):
    """A task of a version."""

    id: str
    slug: str
    filePath: str
    exportName: str


class DeployedWorker(Reply):
    """What a version brought."""

    id: str
    version: str
    tasks: list[WorkerTask]


class DeploymentDetailReply(Reply):
    """A version by itself."""

    id: str
    status: str
    contentHash: str
    shortCode: str
    version: str
    imageReference: str | None = None
    imagePlatform: str
    worker: DeployedWorker


class PromotedReply(Reply):
    """The version that is current now."""

    id: str
    version: str
    shortCode: str
