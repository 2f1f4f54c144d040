"""The connection to PostgreSQL: Peewee's pool, named statements prepared once a connection, errors the edge can act on.

A named statement is a file in `sql/` that takes one JSON document and returns rows, so that one call is one round
trip and one transaction. All of them may be sent again after a broken connection: they compare before they set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg2
import psycopg2.errors
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase

Row = dict[str, Any]
#: What `rows` does, over one connection.
Ask = Callable[..., list[Row]]
T = TypeVar("T")

#: SQLSTATE classes and codes that say "this connection is of no use": shutdown, read-only after a failover, lost.
_DISCARD = ("08", "57P", "25006")
#: The first server version that knows `idle_session_timeout`.
_ENDS_IDLE_SESSIONS = 140_000
#: Seconds without a sign of life after which a server is taken for lost.
_SILENCE = 20.0


#: Every question the engine asks is answered by an index, in a nested loop over the few rows of its document. The
#: planner guesses 100 rows for a document and may read whole tables instead; prepared statements keep such a plan.
_PLANNING = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}


class StoreUnavailable(Exception):
    """PostgreSQL cannot be reached."""


class Deadlock(Exception):
    """Two transactions waited for each other, and this one was undone: it may be done again."""


class TooSlow(Exception):
    """A statement took longer than it was given."""


class Unstorable(Exception):
    """A value is beyond what PostgreSQL can hold where it was to go; the transaction was undone."""


#: How often a statement by itself is sent again that PostgreSQL has ended for the sake of another.
_DEADLOCKS = 3
_UNSTORABLE = (
    psycopg2.errors.ProgramLimitExceeded,
    psycopg2.errors.CharacterNotInRepertoire,
    psycopg2.errors.UntranslatableCharacter,
    psycopg2.errors.InvalidTextRepresentation,
    psycopg2.errors.StringDataRightTruncation,
    psycopg2.errors.NumericValueOutOfRange,
    psycopg2.errors.DatetimeFieldOverflow,
)


class _Connection(psycopg2.extensions.connection):
    """A driver connection that knows which named statements it has prepared."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.prepared: set[str] = set()


class _Pool(PooledPostgresqlDatabase):
    """Peewee's pool, which would ask the server `SELECT 1` before each use of a connection.

    A connection that died meanwhile is found by its first statement instead, which is sent once more over a new one.
    """

    def _is_closed(self, conn: psycopg2.extensions.connection) -> bool:
        if conn.closed:
            return True
        status = conn.get_transaction_status()
        if status != psycopg2.extensions.TRANSACTION_STATUS_IDLE:
            conn.close()  # its last user left it in the middle of something
            return True
        return False


class Database:
    """`url` as `postgresql://user@host:port/name` or with `?host=/socket/dir`; at most `connections` at once."""

    def __init__(self, url: str, connections: int = 20, application: str = "sojourn"):
        options = dict(_options(url), application_name=application)
        planning = " ".join(f"-c {name}={value}" for name, value in _PLANNING.items())
        options["options"] = f"{planning} {options.get('options', '')}".strip()
        self.peewee = _Pool(
            options.pop("dbname", "postgres"),
            max_connections=connections,
            timeout=20,
            connection_factory=_Connection,
            **({"connect_timeout": 5} | _patient(_SILENCE) | options),
        )

    def call(self, name: str, document: Any) -> list[Row]:
        """The rows that `sql/<name>.sql` returns for one JSON document. Sent once more if the connection was dead."""
        argument = json.dumps(document, default=_to_json)
        return self._with_connection(lambda connection: _execute(connection, name, argument))

    def rows(self, sql: str, *parameters: Any) -> list[Row]:
        """The rows of an ad-hoc statement with `%s` parameters."""

        return self._with_connection(lambda connection: _ask(connection, sql, parameters))

    @contextmanager
    def alone(self) -> Iterator[Ask]:
        """A connection of its own, which is closed at the end; each statement is committed by itself, in no transaction."""
        try:
            with closing(psycopg2.connect(dbname=self.peewee.database, **self.peewee.connect_params)) as connection:
                connection.autocommit = True
                yield lambda sql, *parameters: _ask(connection, sql, parameters)
        except psycopg2.Error as error:
            if _is_lost(error):
                raise StoreUnavailable(str(error).strip()) from error
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything that `rows`, `call` and Peewee do inside is one transaction. It is not sent again as a whole."""
        if not self.peewee.in_transaction():
            self.rows("SELECT 1")  # finds out, and makes good, that the server was started again meanwhile
        try:
            with self.peewee.connection_context(), self.peewee.atomic():
                yield
        except Exception as error:
            if _is_lost(error):
                self.peewee.close_idle()
                raise StoreUnavailable(str(error).strip()) from error
            if isinstance(error, psycopg2.errors.DeadlockDetected):
                raise Deadlock(str(error).strip()) from error
            if isinstance(error, _UNSTORABLE):
                raise Unstorable(str(error).strip()) from error
            raise

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """A transaction that reads, all of it as of one moment; each of its statements is given so long. `TooSlow`."""
        try:
            with self.transaction():
                self.rows(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = %s",
                    int(seconds * 1000),
                )
                yield
        except psycopg2.errors.QueryCanceled as error:
            raise TooSlow(str(error).strip()) from error

    def close(self) -> None:
        """Close every connection."""
        self.peewee.close_all()

    def _with_connection(self, use: Callable[[_Connection], T]) -> T:
        if self.peewee.in_transaction():
            return use(self.peewee.connection())
        for _ in range(_DEADLOCKS):
            try:
                return self._once(use)
            except psycopg2.errors.DeadlockDetected:
                continue  # the other statement had its way; this one did nothing
            except StoreUnavailable:
                self.peewee.close_idle()
                return self._once(use)
        return self._once(use)

    def _once(self, use: Callable[[_Connection], T]) -> T:
        try:
            self.peewee.connect(reuse_if_open=True)
        except MaxConnectionsExceeded as error:
            raise StoreUnavailable("every connection to PostgreSQL is busy") from error
        except Exception as error:
            raise StoreUnavailable(str(error).strip()) from error
        try:
            return use(self.peewee.connection())
        except Exception as error:
            if _is_lost(error):
                self.peewee.manual_close()
                raise StoreUnavailable(str(error).strip()) from error
            raise
        finally:
            self.peewee.close()


class AdvisoryLock:
    """A lock that lives as long as one connection of its own.

    `silence`: seconds after which the server ends that connection if its holder asks nothing, so that a process that is
    paused, or cut off, does not keep the lock for ever (from PostgreSQL 14 on); and after which the holder takes a
    server that does not answer for lost.
    """

    def __init__(self, url: str, number: int, silence: float = 0):
        self._options = _patient(silence) | _options(url) | {"connect_timeout": 5, "application_name": "sojourn-leader"}
        self._number = number
        self._silence = silence
        self._connection: psycopg2.extensions.connection | None = None
        self._held = False

    def held(self) -> bool:
        """Whether the lock is held, trying to get it without waiting."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1" if self._held else f"SELECT pg_try_advisory_lock({int(self._number)})")
                self._held = self._held or bool((cursor.fetchone() or (0,))[0])
            return self._held
        except psycopg2.Error as error:
            self.release()
            raise StoreUnavailable(str(error).strip()) from error

    def _connect(self) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(**self._options)
        connection.autocommit = True
        if self._silence and connection.server_version >= _ENDS_IDLE_SESSIONS:
            with connection.cursor() as cursor:
                cursor.execute(f"SET idle_session_timeout = {int(self._silence * 1000)}")
        return connection

    def release(self) -> None:
        """Gives it up."""
        connection, self._connection, self._held = self._connection, None, False
        if connection is not None:
            connection.close()


def _patient(silence: float) -> dict[str, Any]:
    """libpq's options for a connection whose other end may vanish without a word, as behind a cut cable."""
    if not silence:
        return {}
    return {
        "keepalives_idle": max(int(silence / 2), 1),
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "tcp_user_timeout": int(silence * 1000),
    }


def _execute(connection: _Connection, name: str, argument: str) -> list[Row]:
    with connection.cursor() as cursor:
        if name not in connection.prepared:
            cursor.execute(f"PREPARE {name} (jsonb) AS {statement(name)}")
            connection.prepared.add(name)
        try:
            cursor.execute(f"EXECUTE {name} (%s)", (argument,))
        except psycopg2.errors.FeatureNotSupported:
            # A newer release has changed the schema meanwhile: what was prepared gives rows of another shape than before.
            if connection.get_transaction_status() != psycopg2.extensions.TRANSACTION_STATUS_IDLE:
                raise
            cursor.execute(f"DEALLOCATE {name}")
            connection.prepared.discard(name)
            return _execute(connection, name, argument)
        return _rows(cursor)


def _ask(connection: psycopg2.extensions.connection, sql: str, parameters: Sequence[Any]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return _rows(cursor) if cursor.description else []


def _rows(cursor: psycopg2.extensions.cursor) -> list[Row]:
    columns = [column.name for column in cursor.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


@cache
def statement(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return (files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _is_lost(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, psycopg2.Error):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return False
    code = cause.pgcode or ""
    if code.startswith(_DISCARD):
        return True
    return isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError) and not code


def _options(url: str) -> dict[str, Any]:
    """libpq's options out of a URL; the user's text never reaches an error message."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError("a PostgreSQL URL begins with postgresql://")
    named = {
        "dbname": unquote(parts.path.lstrip("/")) or None,
        "user": unquote(parts.username or "") or None,
        "password": unquote(parts.password or "") or None,
        "host": parts.hostname,
        "port": parts.port,
    }
    return {name: value for name, value in named.items() if value is not None} | dict(parse_qsl(parts.query))


def _to_json(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
