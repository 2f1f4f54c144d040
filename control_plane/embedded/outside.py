"""The servers that the user named by a URL: looked at before anything is started, refused in one line without a secret."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import psycopg2
import redis

from sojourn.control_plane.embedded.process import StartFailed
from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.control_plane.nomad_client import (
    BaseNomadException,
    URLNotAuthorizedNomadException,
    URLNotFoundNomadException,
    nomad_client,
    reason,
)
from sojourn.control_plane.store.database import Database, StoreUnavailable


def check_database(url: str) -> None:
    """`StartFailed` unless it answers."""
    database = Database(url, connections=1, application="sojourn-stack")
    try:
        database.rows("SELECT 1")
    except (StoreUnavailable, psycopg2.Error) as error:
        raise StartFailed(_unreachable("PostgreSQL", "DATABASE_URL", url, error)) from error
    finally:
        database.close()


def check_redis(url: str) -> None:
    """`StartFailed` unless it answers."""
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as connection:
            connection.ping()
    except (redis.RedisError, ValueError, TypeError) as error:
        raise StartFailed(_unreachable("Redis", "REDIS_URL", url, error)) from error


def check_nomad(access: NomadAccess) -> None:
    """`StartFailed` unless it answers, knows the token and has the namespace. `sojourn doctor` looks further."""
    client = nomad_client(access, timeout=5)
    try:
        client.namespace.get_namespace(access.namespace)
    except URLNotAuthorizedNomadException as error:
        raise StartFailed(
            f"Nomad refuses the token for the namespace {access.namespace}: correct NOMAD_TOKEN or NOMAD_NAMESPACE;"
            " docs/nomad.md has the policy that it needs"
        ) from error
    except URLNotFoundNomadException as error:
        raise StartFailed(
            f"Nomad has no namespace {access.namespace}: make it by `nomad namespace apply {access.namespace}`,"
            " or correct NOMAD_NAMESPACE"
        ) from error
    except (BaseNomadException, OSError, ValueError) as error:
        why = without_secret(reason(error), access.address)
        raise StartFailed(
            f"Nomad cannot be reached ({why}): start it, correct NOMAD_ADDR and the TLS settings beside it,"
            " or unset NOMAD_ADDR to have one started by --nomad"
        ) from error


def without_secret(text: str, url: str) -> str:
    """The first line of a driver's text, less the URL's password, should it be in there."""
    first = (text.strip().splitlines() or [""])[0]
    password = urlsplit(url).password
    for secret in {password, unquote(password or "")} - {None, ""}:
        first = first.replace(str(secret), "…")
    return first.rstrip(".")


def _unreachable(what: str, variable: str, url: str, error: Exception) -> str:
    why = without_secret(str(error), url) or type(error).__name__
    return f"{what} cannot be reached ({why}): start it, correct {variable}, or unset {variable} to have one started"
