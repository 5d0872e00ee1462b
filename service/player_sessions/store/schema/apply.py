"""`schema apply` and `schema status`: the only code that runs DDL.

It is safe to run this twice, and by two processes at once. A lock (a lightweight transaction with a
TTL) is held and renewed, each migration is recorded when it begins and when it is done, and every
statement can be repeated. The next run therefore finishes a half-applied migration.

`ResponseFuture.is_schema_agreed` is documented only in the driver's source;
`tests/guards/test_guard_cassandra_driver.py` checks it.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cassandra import InvalidRequest, OperationTimedOut, Unauthorized, WriteTimeout
from cassandra.protocol import OverloadedErrorMessage
from msgspec import structs

from player_sessions.settings import Settings, format_duration
from player_sessions.store.cluster import NotConnected, connect, where
from player_sessions.store.errors import StoreError, describe, translate
from player_sessions.store.schema import (
    Applied,
    Migration,
    SchemaOptions,
    TableOptions,
    migrations,
    mismatch,
    newest_done,
    schema_options,
)

LOCK_SECONDS = 60
_AGREEMENT_SECONDS = 30
# The last second that Cassandra can store as an expiry while it must also suit 4.1: 2038-01-19.
_LAST_EXPIRY = 2**31 - 2
_BOOKKEEPING = {
    "schema_lock": "name text PRIMARY KEY, owner text",
    "schema_migrations": "number int PRIMARY KEY, name text, checksum text, serves int,"
    " statements_done int, begun_at timestamp, done_at timestamp, error text",
}
# When two processes create these tables through two nodes at once, both must create the same
# tables: a table's id follows from its name.
_TABLE_IDS = uuid.UUID("6b0a5a10-7a7e-11ef-8f0e-9d1c5d4c0001")
_CHECK = "Check PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS, _PORT, _LOCAL_DC, _USERNAME and _PASSWORD"
Say = Callable[[str], None]


class SchemaError(Exception):
    """The schema could not be applied; the message says what to do."""


@dataclass(frozen=True)
class Patience:
    """How many seconds to retry while no node answers, and while a node refuses the login.

    A refused login is retried because the operator creates the superuser some time after port 9042
    answers. `login_from` says where the login comes from, for the error message.
    """

    answer: float
    login: float
    login_from: str = "PLAYER_SESSIONS_CASSANDRA_USERNAME and _PASSWORD"


@contextmanager
def session(settings: Settings, patience: Patience, say: Say) -> Iterator[Any]:
    """Connect, for as long as `patience` allows, and yield the session; raises SchemaError."""
    begun, pause, refused_since = time.monotonic(), 0.5, None
    while True:
        try:
            cluster, opened = connect(settings, timeout=_AGREEMENT_SECONDS)
            break
        except NotConnected as error:
            soon = time.monotonic() + pause
            if not error.login_refused:
                refused_since, until = None, begun + patience.answer
                message = f"{error}. {_CHECK}"
            else:
                refused_since = refused_since or time.monotonic()
                until = refused_since + patience.login
                message = _refused(settings, patience)
            if soon > until:
                raise SchemaError(message) from error
            say(f"{error}; next try in {pause:g} s")
            time.sleep(pause)
            pause = min(5.0, pause * 2)
    try:
        cluster.max_schema_agreement_wait = _AGREEMENT_SECONDS
        yield opened
    finally:
        cluster.shutdown()


def run(
    settings: Settings, patience: Patience, say: Say, work: Callable[[Settings, Any], int]
) -> int:
    """Return what `work` returns with a session; raises SchemaError.

    When Cassandra goes away meanwhile, begin again: all work here can be repeated.
    """
    until = time.monotonic() + patience.answer
    while True:
        try:
            with session(settings, patience, say) as opened:
                return work(settings, opened)
        except SchemaError:
            raise
        except Exception as error:
            away = _went_away(error)
            said = "is away" if away else "refused"
            message = f"Cassandra at {where(settings)} {said}: {describe(error)}"
            if not away or time.monotonic() > until:
                raise SchemaError(message) from error
            say(f"{message}; beginning again")
            time.sleep(1)


def _went_away(error: Exception) -> bool:
    """Return whether another try may succeed, since no node could or did answer."""
    return isinstance(translate(error), StoreError) and not isinstance(error, Unauthorized)


def refuse_open_door(settings: Settings) -> None:
    """Raise SchemaError when Cassandra accepts any password, since its roles protect nothing then.

    K8ssandra once dropped `auth: true` silently, so the manifest alone proves nothing.
    """
    wrong = structs.replace(settings, cassandra_password=secrets.token_urlsafe())
    try:
        cluster, _ = connect(wrong, timeout=_AGREEMENT_SECONDS)
    except NotConnected as error:
        if error.login_refused:
            return
        raise
    cluster.shutdown()
    raise SchemaError(
        f"Cassandra accepts a wrong password at {where(settings)}: anyone who reaches it can read"
        " and delete everything. Switch its authentication on (K8ssandraCluster: `auth: true`; else"
        " PasswordAuthenticator and CassandraAuthorizer in cassandra.yaml), then run"
        " `player-sessions schema apply` again"
    )


def _refused(settings: Settings, patience: Patience) -> str:
    return (
        f"Cassandra refuses the login of {settings.cassandra_username!r} at {where(settings)} for"
        f" {patience.login:g} s: wrong user or password in {patience.login_from}"
    )


def read_applied(execute: Callable[[str], Any], keyspace: str) -> list[Applied]:
    """Return the rows of the database's own table of migrations; none when there is no table."""
    try:
        rows = execute(
            f"SELECT number, checksum, serves, done_at FROM {keyspace}.schema_migrations"
        )
    except InvalidRequest:  # no such keyspace or table
        return []
    return [
        Applied(number, checksum, serves, done is not None)
        for number, checksum, serves, done in rows
    ]


def unkept_retention(settings: Settings, execute: Callable[[str], Any]) -> str | None:
    """Return why Cassandra cannot keep rows for the retention, or None.

    Until it is told otherwise, Cassandra 5.0 stores times of expiry as 4.1 did, which end in 2038.
    In the mode UPGRADING it takes later ones only while no node is older, so they are refused too.
    """
    left = _LAST_EXPIRY - time.time() - settings.future_tolerance
    if settings.retention <= left:
        return None
    try:
        row = execute(
            "SELECT value FROM system_views.settings WHERE name = 'storage_compatibility_mode'"
        ).one()
    except Unauthorized:
        return None
    mode = row[0] if row else "unknown, as before 5.0"
    if mode == "NONE":
        return None
    return (
        f"Cassandra cannot keep rows for {format_duration(settings.retention)}: they would expire"
        f" after 2038-01-19, and its storage_compatibility_mode is {mode}. Set"
        f" PLAYER_SESSIONS_RETENTION to at most {max(0, left) // 86400:.0f}d, or"
        " storage_compatibility_mode: NONE on every node"
    )


def apply(settings: Settings, opened: Any, say: Say) -> int:
    """Bring the database to this release's schema; return the number of changes made."""
    return _Application(settings, opened, say).run()


def status(settings: Settings, opened: Any) -> tuple[list[str], bool]:
    """Return lines for a person, and whether `apply` has nothing left to do."""
    applied = read_applied(opened.execute, settings.keyspace)
    lines = [
        f"keyspace {settings.keyspace}: at migration {newest_done(applied)} of {len(migrations())}"
    ]
    for row in sorted(applied, key=lambda row: row.number):
        lines.append(
            f"  {row.number}: {'done' if row.done else 'begun, not done'}, serves {row.serves}"
        )
    reason = mismatch(applied, migrations()) or unkept_retention(settings, opened.execute)
    if reason:
        return [*lines, reason], False
    work = _Application(settings, opened, lines.append)
    todo = [*work.replication_changes(), *work.option_changes()]
    return [*lines, *(f"differs from the settings: {cql}" for cql in todo)], not todo


class _Application:
    def __init__(self, settings: Settings, opened: Any, say: Say) -> None:
        self.keyspace = settings.keyspace
        self.settings = settings
        self.session = opened
        self.say = say
        self.owner = str(uuid.uuid4())
        self.changes = 0

    def run(self) -> int:
        if reason := unkept_retention(self.settings, self.session.execute):
            raise SchemaError(reason)
        options = schema_options(self.settings)
        self._bootstrap()
        with self._lock():
            applied = {row.number: row for row in read_applied(self.session.execute, self.keyspace)}
            for migration in migrations():
                self._migrate(migration, applied.get(migration.number), options)
            for cql in [*self.replication_changes(), *self.option_changes()]:
                self._renew()
                self._ddl(cql)
            if self.settings.role_name:
                self._role()
        return self.changes

    def _ddl(self, cql: str, *, shown: str | None = None) -> None:
        self.say(shown or " ".join(cql.split()))
        future = self.session.execute_async(cql)
        future.result()
        if not future.is_schema_agreed:
            raise SchemaError(
                f"the nodes did not agree on the schema within {_AGREEMENT_SECONDS} s: look for"
                " nodes that are down, then run `player-sessions schema apply` again"
            )
        self.changes += 1

    def _bootstrap(self) -> None:
        keyspaces = self._rows("system_schema.keyspaces", "keyspace_name")
        replication = self._replication()
        self._create(
            f"CREATE KEYSPACE IF NOT EXISTS {self.keyspace} WITH {replication}", bool(keyspaces)
        )
        tables = {name for (name,) in self._rows("system_schema.tables", "table_name")}
        for name, columns in _BOOKKEEPING.items():
            table = f"{self.keyspace}.{name}"
            self._create(
                f"CREATE TABLE IF NOT EXISTS {table} ({columns})"
                f" WITH id = {uuid.uuid5(_TABLE_IDS, table)}",
                name in tables,
            )

    def _create(self, cql: str, listed: bool) -> None:
        """Create a keyspace or table, or if it is listed already, wait until it can be used.

        Another process may be creating it just now. Cassandra lists it a moment before that.
        """
        if listed:
            self.session.execute(cql)
        else:
            self._ddl(cql)

    def _rows(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        cql = f"SELECT {columns} FROM {table} WHERE keyspace_name = %s"
        return list(self.session.execute(cql, (self.keyspace,)))

    def _replication(self) -> str:
        factors = "".join(f", '{dc}': '{n}'" for dc, n in self.settings.replication.items())
        return f"replication = {{'class': 'NetworkTopologyStrategy'{factors}}}"

    def replication_changes(self) -> list[str]:
        """Return the ALTER that makes the keyspace's replication what the settings say."""
        rows = self._rows("system_schema.keyspaces", "replication")
        found = {key: value for key, value in rows[0][0].items() if key != "class"} if rows else {}
        if found == {dc: str(n) for dc, n in self.settings.replication.items()}:
            return []
        return [f"ALTER KEYSPACE {self.keyspace} WITH {self._replication()}"]

    def option_changes(self) -> list[str]:
        """Return an ALTER for each table whose options do not follow from the settings."""
        wanted = schema_options(self.settings).by_table()
        columns = "table_name, default_time_to_live, gc_grace_seconds, compaction"
        return [
            f"ALTER TABLE {self.keyspace}.{name} WITH {wanted[name].cql()}"
            for name, ttl, grace, compaction in self._rows("system_schema.tables", columns)
            if name in wanted and not _same(wanted[name], ttl, grace, compaction)
        ]

    def _migrate(self, migration: Migration, found: Applied | None, options: SchemaOptions) -> None:
        if found and found.checksum != migration.checksum and found.done:
            raise SchemaError(
                f"migration {migration.number} was applied with another text (checksum):"
                " released migrations are never edited; add a new one"
            )
        if found and found.done:
            return
        self._record(migration, begun_at=_now(), statements_done=0, error=None)
        done = 0
        try:
            for cql in migration.statements(self.keyspace, options):
                self._renew()
                self._ddl(cql)
                done += 1
                self._record(migration, statements_done=done)
        except Exception as error:
            self._record(migration, error=describe(error))
            raise
        self._record(migration, done_at=_now())
        self.say(f"migration {migration.number} ({migration.name}) done")

    def _record(self, migration: Migration, **columns: Any) -> None:
        values = {
            "number": migration.number,
            "name": migration.name,
            "checksum": migration.checksum,
            "serves": migration.serves,
            **columns,
        }
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        self.session.execute(
            f"INSERT INTO {self.keyspace}.schema_migrations ({names}) VALUES ({marks})",
            tuple(values.values()),
        )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        until, waiting = time.monotonic() + 2 * LOCK_SECONDS, False
        while not self._acquire():
            if not waiting:
                self.say("another `schema apply` holds the lock; waiting for it")
                waiting = True
            if time.monotonic() > until:
                raise SchemaError(
                    "another `schema apply` still holds the lock; try again when it is done"
                )
            time.sleep(0.5)
        try:
            yield
        finally:
            self._cas("DELETE FROM {}.schema_lock WHERE name = 'schema' IF owner = %s", self.owner)

    def _acquire(self) -> bool:
        cql = (
            "INSERT INTO {}.schema_lock (name, owner) VALUES ('schema', %s) IF NOT EXISTS"
            f" USING TTL {LOCK_SECONDS}"
        )
        row = self._cas(cql, self.owner)
        # A try that timed out may have been applied: then the lock is ours already.
        return row is not None and (row[0] or row[-1] == self.owner)

    def _renew(self) -> None:
        cql = (
            f"UPDATE {{}}.schema_lock USING TTL {LOCK_SECONDS} SET owner = %s"
            " WHERE name = 'schema' IF owner = %s"
        )
        row = self._cas(cql, self.owner, self.owner)
        if row is None or not row[0]:
            raise SchemaError("the lock was lost to another process; run `schema apply` again")

    def _cas(self, cql: str, *values: str) -> tuple[Any, ...] | None:
        """Return the row of a lightweight transaction; its first column says if it was applied."""
        try:
            row: tuple[Any, ...] = self.session.execute(cql.format(self.keyspace), values).one()
        except (WriteTimeout, OperationTimedOut):
            return None
        return row

    def _role(self) -> None:
        name = '"' + self.settings.role_name.replace('"', '""') + '"'
        password = self.settings.role_password.replace("'", "''")
        # A role without a password cannot log in. ALTER ROLE sets it for a new and for an old role.
        self._ddl(f"CREATE ROLE IF NOT EXISTS {name} WITH LOGIN = true")
        cql = f"ALTER ROLE {name} WITH PASSWORD = '{{}}' AND LOGIN = true"
        self._patiently(lambda: self._ddl(cql.format(password), shown=cql.format("***")))
        for permission in ("SELECT", "MODIFY"):
            self._ddl(f"GRANT {permission} ON KEYSPACE {self.keyspace} TO {name}")
        self._ddl(f"GRANT SELECT ON system_views.settings TO {name}")

    def _patiently(self, change: Callable[[], None]) -> None:
        """Retry `change`: Cassandra answers "overloaded" to a second new password within 5 s."""
        for left in reversed(range(10)):
            try:
                return change()
            except OverloadedErrorMessage:
                if not left:
                    raise
                self._renew()
                time.sleep(1)
        return None


def _same(wanted: TableOptions, ttl: int, grace: int, compaction: dict[str, str]) -> bool:
    kept = {key: compaction.get(key) for key in wanted.compaction}
    return (ttl, grace, kept) == (
        wanted.default_time_to_live,
        wanted.gc_grace_seconds,
        dict(wanted.compaction),
    )


def _now() -> datetime:
    return datetime.now(UTC)
