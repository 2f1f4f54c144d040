"""Who may come in: organizations, projects, environments, and the keys, tokens and sessions that open them."""

from __future__ import annotations

import secrets
import string
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from sojourn.control_plane.domain import ids
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Environment, build
from sojourn.control_plane.store.seal import Seal, hashed

_ALPHANUMERIC = string.ascii_letters + string.digits
_KEY_CHARS = 24
#: Seconds that a process may go on honouring a key after it was revoked.
CACHE_SECONDS = 5
_CACHE_SIZE = 10_000
_CODE_LIFE = timedelta(minutes=15)
_SESSION_LIFE = timedelta(days=7)

_ENVIRONMENT = """
SELECT e.id, e.slug, e.type, e.paused, o.id AS organization_id, o.slug AS organization_slug,
    o.name AS organization_name, p.id AS project_id, p.ref AS project_ref, p.slug AS project_slug,
    p.name AS project_name
FROM environments e JOIN projects p ON p.id = e.project_id JOIN organizations o ON o.id = e.organization_id
"""


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
        self._seal = seal
        self._cached: dict[str, tuple[Environment, datetime]] = {}
        self._lock = threading.Lock()

    def environment_by_key(self, secret: str, now: datetime) -> Environment | None:
        """The environment that a secret key opens; None for a key that is unknown, revoked or expired."""
        name = hashed(secret)
        kept = self._cached.get(name)
        if kept and kept[1] > now:
            return kept[0]
        rows = self._database.rows(
            _ENVIRONMENT + "JOIN api_keys k ON k.environment_id = e.id WHERE k.hash = %s AND k.revoked_at IS NULL"
            " AND (k.expires_at IS NULL OR k.expires_at > %s)",
            name,
            now,
        )
        if not rows:
            self._cached.pop(name, None)
            return None
        return self._keep(name, build(Environment, rows[0]), now)

    def environment(self, environment_id: str, now: datetime) -> Environment | None:
        """The environment of that id."""
        kept = self._cached.get(environment_id)
        if kept and kept[1] > now:
            return kept[0]
        rows = self._database.rows(_ENVIRONMENT + "WHERE e.id = %s", environment_id)
        return self._keep(environment_id, build(Environment, rows[0]), now) if rows else None

    def environments(self, organization_id: str) -> list[Environment]:
        """An organization's environments, by project and slug."""
        rows = self._database.rows(_ENVIRONMENT + "WHERE o.id = %s ORDER BY p.slug, e.slug", organization_id)
        return [build(Environment, row) for row in rows]

    def root_key(self, environment_id: str) -> str:
        """An environment's root key in clear: it signs that environment's public tokens."""
        row = self._database.rows(
            "SELECT sealed FROM api_keys WHERE environment_id = %s AND is_root AND revoked_at IS NULL", environment_id
        )[0]
        return self._seal.open(row["sealed"], environment_id)

    def organization_by_token(self, secret: str) -> str | None:
        """The id of the organization that a personal token belongs to."""
        rows = self._database.rows(
            "SELECT organization_id FROM personal_tokens WHERE hash = %s AND revoked_at IS NULL", hashed(secret)
        )
        return str(rows[0]["organization_id"]) if rows else None

    def installation(self, now: datetime) -> Installation | None:
        """What a first start made, keys opened again; None before it. The personal token is not kept in clear."""
        rows = self._database.rows(
            "SELECT o.id, p.ref FROM organizations o JOIN projects p ON p.organization_id = o.id"
            " WHERE o.slug = 'default' AND p.slug = 'default'"
        )
        if not rows:
            return None
        environments = {env.slug: env.id for env in self.environments(rows[0]["id"])}
        keys = {slug: self.root_key(env_id) for slug, env_id in environments.items()}
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
            return Installation(organization, ref, environments, keys, self.create_personal_token(organization, now))

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
        key = f"tr_{slug}_" + _random_text(_KEY_CHARS)
        self._database.rows(
            "INSERT INTO api_keys (id, environment_id, is_root, hash, sealed, hint) VALUES (%s, %s, true, %s, %s, %s)",
            self._new_id("key", now),
            made,
            hashed(key),
            self._seal.close(key, made),
            _hint(key),
        )
        return made, key

    def create_personal_token(self, organization: str, now: datetime) -> str:
        """A new personal token in clear; only its hash is kept."""
        token = "tr_pat_" + _random_text(40)
        self._database.rows(
            "INSERT INTO personal_tokens (id, organization_id, hash, hint) VALUES (%s, %s, %s, %s)",
            self._new_id("pat", now),
            organization,
            hashed(token),
            _hint(token),
        )
        return token

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
        secret = _random_text(43)
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

    def _keep(self, name: str, environment: Environment, now: datetime) -> Environment:
        with self._lock:
            if len(self._cached) >= _CACHE_SIZE:
                self._cached.clear()
            self._cached[name] = (environment, now + timedelta(seconds=CACHE_SECONDS))
        return environment

    @staticmethod
    def _new_id(prefix: str, now: datetime) -> str:
        return ids.make(prefix, now, secrets.token_bytes(ids.RANDOM_BYTES))


def _random_text(chars: int) -> str:
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(chars))


def _hint(secret: str) -> str:
    prefix = secret[: secret.rindex("_") + 1]
    return f"{prefix}…{secret[-4:]}"
