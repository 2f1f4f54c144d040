"""Projects and their environments' keys, for whoever holds a personal or an organization token: command lines, mostly."""

from __future__ import annotations

from typing import Any

from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.encoding import timestamp
from sojourn.control_plane.api.naming import slug_of
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.records import Project


class Projects:
    """What can be seen of an organization. `api_url`: where the API is reached from outside."""

    def __init__(self, access: Access, api_url: str):
        self._access = access
        self._api_url = api_url.rstrip("/")

    def whoami(self, call: Call) -> dict[str, Any]:
        """Whose token it is. There are no users here, only organizations."""
        token, ref = call.person, call.query.projectRef
        wire: dict[str, Any] = {
            "userId": token.id if token.kind == "personal" else f"org_{token.organization_id.removeprefix('org_')}",
            "email": "nobody@sojourn.invalid",
            "dashboardUrl": f"{self._api_url}/",
        }
        project = self._find(call, ref) if ref else None
        if project is not None:
            wire["project"] = {"name": project.name, "url": f"{self._api_url}/", "orgTitle": project.organization_name}
        return wire

    def list(self, call: Call) -> list[dict[str, Any]]:
        """The organization's projects."""
        return [_shown(project) for project in self._access.projects(call.person.organization_id)]

    def retrieve(self, call: Call, ref: str) -> dict[str, Any]:
        """One of them."""
        project = self._find(call, ref)
        if project is None:
            raise Problem("PROJECT_NOT_FOUND")
        return _shown(project)

    def environment(self, call: Call, ref: str, env: str) -> dict[str, Any]:
        """What opens one of its environments."""
        found = self._access.environment_of(call.person.organization_id, ref, slug_of(env))
        if found is None:
            raise Problem("PROJECT_NOT_FOUND")
        return {
            "apiKey": self._access.keys.root(found.id, call.now),
            "name": found.project_name,
            "apiUrl": self._api_url,
            "projectId": found.project_id,
        }

    def opened(self, call: Call) -> dict[str, Any]:
        """The environment that the caller's key opens."""
        opened = call.environment
        return {
            "id": opened.id,
            "slug": opened.slug,
            "type": opened.type,
            "project": {"ref": opened.project_ref, "name": opened.project_name},
        }

    def _find(self, call: Call, ref: str) -> Project | None:
        found = self._access.projects(call.person.organization_id)
        return next((project for project in found if project.ref == ref), None)


def _shown(project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "externalRef": project.ref,
        "name": project.name,
        "slug": project.slug,
        "createdAt": timestamp(project.created_at),
        "organization": {
            "id": project.organization_id,
            "title": project.organization_name,
            "slug": project.organization_slug,
            "createdAt": timestamp(project.organization_created_at),
        },
    }
