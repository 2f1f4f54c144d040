"""Who may come in: organizations, projects, environments, and the tokens and sessions that open them. Keys: `keys`."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from datetime import datetime, timedelta

from sojourn.control_plane.domain import ids
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.keys import ENVIRONMENTS, Keys
from sojourn.control_plane.store.personal_tokens import PersonalTokens
from sojourn.control_plane.store.recent import Recent
from sojourn.control_plane.store.records import Environment, Project, build
from sojourn.control_plane.store.seal import Seal, hashed
from sojourn.control_plane.store.secret_texts import random_text, root_key

_CODE_LIFE = timedelta(minutes=15)
_SESSION_LIFE = timedelta(days=7)

_ENVIRONMENT = ENVIRONMENTS.format(more="")


@dataclass(frozen=True, slots=True)
class Installation:
    """What a first start makes. `keys` maps an environment's slug to its root key; `personal_token` is shown once."""

    organization_id: str
    project_ref: str
    environments: dict[str, str]
    keys: dict[str, str]
    personal_token: str | None


class Access:
    """Looks up credentials by their hash; nothing here returns a hash or a sealed text."""

    def __init__(self, database: Database, seal: Seal):
        self._database = database
        self.keys = Keys(database, seal)
        self.personal_tokens = PersonalTokens(database)
        self._environments: Recent[Environment] = Recent()

    def environment(self, environment_id: str, now: datetime) -> Environment | None:
        """The environment of that id."""
        kept = self._environments.get(environment_id, now)
        if kept is not None:
            return kept
        rows = self._database.rows(_ENVIRONMENT + "WHERE e.id = %s", environment_id)
        return self._environments.keep(environment_id, build(Environment, rows[0]), now) if rows else None

    def environments(self, organization_id: str) -> list[Environment]:
        """An organization's environments, by project and slug."""
        rows = self._database.rows(_ENVIRONMENT + "WHERE o.id = %s ORDER BY p.slug, e.slug", organization_id)
        return [build(Environment, row) for row in rows]

    def environment_of(self, organization_id: str, ref: str, slug: str) -> Environment | None:
        """An organization's environment, by its project's ref and its own slug."""
        rows = self._database.rows(
            _ENVIRONMENT + "WHERE o.id = %s AND p.ref = %s AND e.slug = %s", organization_id, ref, slug
        )
        return build(Environment, rows[0]) if rows else None

    def projects(self, organization_id: str) -> list[Project]:
        """An organization's projects, by their slugs."""
        rows = self._database.rows(
            "SELECT p.id, p.ref, p.slug, p.name, p.created_at, o.id AS organization_id, o.slug AS organization_slug,"
            " o.name AS organization_name, o.created_at AS organization_created_at"
            " FROM projects p JOIN organizations o ON o.id = p.organization_id WHERE o.id = %s ORDER BY p.slug",
            organization_id,
        )
        return [build(Project, row) for row in rows]

    def installation(self, now: datetime) -> Installation | None:
        """What a first start made, keys opened again; None before it. The personal token is not kept in clear."""
        rows = self._database.rows(
            "SELECT o.id, p.ref FROM organizations o JOIN projects p ON p.organization_id = o.id"
            " WHERE o.slug = 'default' AND p.slug = 'default'"
        )
        if not rows:
            return None
        environments = {env.slug: env.id for env in self.environments(rows[0]["id"])}
        keys = {slug: self.keys.root(env_id, now) for slug, env_id in environments.items()}
        return Installation(rows[0]["id"], rows[0]["ref"], environments, keys, None)

    def create_installation(self, now: datetime) -> Installation:
        """Organization, project, environments dev and prod with root keys, and a personal token; or what there is."""
        found = self.installation(now)
        if found:
            return found
        with self._database.transaction():
            self._database.rows("SELECT pg_advisory_xact_lock(7340002)")
            found = self.installation(now)
            if found:
                return found
            organization = self.create_organization("default", "Default", now)
            project = self._new_id("project", now)
            ref = "proj_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(20))
            self._database.rows(
                "INSERT INTO projects (id, organization_id, ref, slug, name) VALUES (%s, %s, %s, 'default', 'Default')",
                project,
                organization,
                ref,
            )
            environments, keys = {}, {}
            for slug, kind in (("dev", "DEVELOPMENT"), ("prod", "PRODUCTION")):
                environments[slug], keys[slug] = self.create_environment(organization, project, slug, kind, now)
            return Installation(organization, ref, environments, keys, self.personal_tokens.create(organization, now)[1])

    def organization(self, slug: str) -> str | None:
        """The id of the organization with that slug."""
        rows = self._database.rows("SELECT id FROM organizations WHERE slug = %s", slug)
        return str(rows[0]["id"]) if rows else None

    def create_organization(self, slug: str, name: str, now: datetime) -> str:
        """A new organization's id."""
        made = self._new_id("org", now)
        self._database.rows("INSERT INTO organizations (id, slug, name) VALUES (%s, %s, %s)", made, slug, name)
        return made

    def create_environment(self, organization: str, project: str, slug: str, kind: str, now: datetime) -> tuple[str, str]:
        """A new environment's id and its root key."""
        made = self._new_id("env", now)
        self._database.rows(
            "INSERT INTO environments (id, organization_id, project_id, slug, type) VALUES (%s, %s, %s, %s, %s)",
            made,
            organization,
            project,
            slug,
            kind,
        )
        key = root_key(slug)
        self.keys.add(self._new_id("key", now), made, key, now, is_root=True)
        return made, key

    def add_environment(self, project: Project, slug: str, kind: str, now: datetime) -> tuple[str, str] | None:
        """A further environment's id and its root key; None if the project has one of that slug."""
        with self._database.transaction():
            self._database.rows("SELECT id FROM projects WHERE id = %s FOR UPDATE", project.id)
            if self.environment_of(project.organization_id, project.ref, slug) is not None:
                return None
            return self.create_environment(project.organization_id, project.id, slug, kind, now)

    def create_dashboard_code(self, organization: str, now: datetime) -> str:
        """A one-time code that `open_dashboard_session` takes once, within 15 minutes."""
        return self._remember(organization, "code", now, now + _CODE_LIFE)

    def open_dashboard_session(self, code: str, now: datetime) -> str | None:
        """A session's secret for a code that was not used before; None otherwise."""
        rows = self._database.rows(
            "DELETE FROM dashboard_sessions WHERE hash = %s AND kind = 'code' AND expires_at > %s"
            " RETURNING organization_id",
            hashed(code),
            now,
        )
        return self._remember(rows[0]["organization_id"], "session", now, now + _SESSION_LIFE) if rows else None

    def dashboard_organization(self, session: str, now: datetime) -> str | None:
        """The organization that a dashboard session may see."""
        rows = self._database.rows(
            "SELECT organization_id FROM dashboard_sessions WHERE hash = %s AND kind = 'session' AND expires_at > %s",
            hashed(session),
            now,
        )
        return str(rows[0]["organization_id"]) if rows else None

    def _remember(self, organization: str, kind: str, now: datetime, until: datetime) -> str:
        secret = random_text(43)
        self._database.rows(
            "INSERT INTO dashboard_sessions (hash, organization_id, kind, created_at, expires_at)"
            " VALUES (%s, %s, %s, %s, %s)",
            hashed(secret),
            organization,
            kind,
            now,
            until,
        )
        return secret

    @staticmethod
    def _new_id(prefix: str, now: datetime) -> str:
        return ids.make(prefix, now, secrets.token_bytes(ids.RANDOM_BYTES))
