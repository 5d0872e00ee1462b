"""`schema apply` and `schema status`: the only code that runs DDL.

Safe to run twice and by two processes at once: a lock (a lightweight transaction with a TTL) is
held and renewed, each migration is recorded as begun and as done, and every statement is
repeatable, so that a half-applied migration is finished by the next run.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cassandra import AuthenticationFailed, InvalidRequest, OperationTimedOut, WriteTimeout
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import OverloadedErrorMessage

from player_sessions.driver import build_cluster
from player_sessions.schema import (
    TABLES,
    Applied,
    Migration,
    TableOptions,
    migrations,
    mismatch,
    newest_done,
    table_options,
)
from player_sessions.settings import Settings

LOCK_SECONDS = 60
_AGREEMENT_SECONDS = 30
_BOOKKEEPING = {
    "schema_lock": "name text PRIMARY KEY, owner text",
    "schema_migrations": "number int PRIMARY KEY, name text, checksum text, serves int,"
    " statements_done int, begun_at timestamp, done_at timestamp, error text",
}
# Two processes that create these tables through two nodes at once must create the same: the
# tables' ids follow from their names.
_TABLE_IDS = uuid.UUID("6b0a5a10-7a7e-11ef-8f0e-9d1c5d4c0001")
Say = Callable[[str], None]


class SchemaError(Exception):
    """The schema could not be applied; the message says what to do."""


@dataclass(frozen=True)
class Patience:
    """How many seconds to try again: while no node answers, and while one refuses the login.

    The second is not yet an error: an operator makes the superuser some time after 9042 answers.
    `login_from` says where the login comes from, for the message that names it.
    """

    answer: float
    login: float
    login_from: str = "PLAYER_SESSIONS_CASSANDRA_USERNAME and _PASSWORD"


@contextmanager
def session(settings: Settings, patience: Patience, say: Say) -> Iterator[Any]:
    """A driver's session, tried for as long as `patience` says; raises SchemaError."""
    begun, pause, refused_since = time.monotonic(), 0.5, None
    while True:
        cluster = build_cluster(settings, timeout=_AGREEMENT_SECONDS)
        try:
            opened = cluster.connect()
            break
        except NoHostAvailable as error:
            cluster.shutdown()
            soon = time.monotonic() + pause
            if not _login_refused(error):
                refused_since, until = None, begun + patience.answer
                message = _unreachable(settings, error)
            else:
                refused_since = refused_since or time.monotonic()
                until = refused_since + patience.login
                message = _refused(settings, patience)
            if soon > until:
                raise SchemaError(message) from error
            say(f"no connection yet ({_reason(error)}); next try in {pause:g} s")
            time.sleep(pause)
            pause = min(5.0, pause * 2)
    try:
        cluster.max_schema_agreement_wait = _AGREEMENT_SECONDS
        yield opened
    finally:
        cluster.shutdown()


def refuse_open_door(settings: Settings) -> None:
    """Raise SchemaError where Cassandra takes any password: its roles would protect nothing.

    K8ssandra once dropped `auth: true` in silence, so the manifest alone proves nothing.
    """
    wrong = replace(settings, cassandra_password=secrets.token_urlsafe())
    cluster = build_cluster(wrong, timeout=_AGREEMENT_SECONDS)
    try:
        cluster.connect()
    except NoHostAvailable as error:
        if _login_refused(error):
            return
        raise
    finally:
        cluster.shutdown()
    raise SchemaError(
        "Cassandra accepts a wrong password: anyone who reaches it can read and delete everything."
        " Switch its authentication on (K8ssandraCluster: `auth: true`; else PasswordAuthenticator"
        " and CassandraAuthorizer in cassandra.yaml), then run `player-sessions schema apply` again"
    )


def _login_refused(error: NoHostAvailable) -> bool:
    """Whether a node answered and refused user and password."""
    faults = error.errors.values() if isinstance(error.errors, dict) else []
    return any(isinstance(fault, AuthenticationFailed) for fault in faults)


def _refused(settings: Settings, patience: Patience) -> str:
    return (
        f"Cassandra refuses the login of {settings.cassandra_username!r} for {patience.login:g} s:"
        f" wrong user or password in {patience.login_from}"
    )


def _reason(error: NoHostAvailable) -> str:
    faults = error.errors.values() if isinstance(error.errors, dict) else []
    return "; ".join(sorted({str(fault) for fault in faults})) or str(error)


def _unreachable(settings: Settings, error: NoHostAvailable) -> str:
    points = ",".join(settings.cassandra_contact_points)
    return (
        f"no connection to Cassandra at {points}, port {settings.cassandra_port}: {_reason(error)}."
        " Check PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS, _PORT, _LOCAL_DC, _USERNAME and _PASSWORD"
    )


def read_applied(execute: Callable[[str], Any], keyspace: str) -> list[Applied]:
    """What the database's own table says; empty where there is none."""
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


def apply(settings: Settings, opened: Any, say: Say) -> int:
    """Bring the database to this release's schema; the number of changes made."""
    return _Application(settings, opened, say).run()


def status(settings: Settings, opened: Any) -> tuple[list[str], bool]:
    """Lines for a person, and whether nothing is left for `apply` to do."""
    applied = read_applied(opened.execute, settings.keyspace)
    lines = [
        f"keyspace {settings.keyspace}: at migration {newest_done(applied)} of {len(migrations())}"
    ]
    for row in sorted(applied, key=lambda row: row.number):
        lines.append(
            f"  {row.number}: {'done' if row.done else 'begun, not done'}, serves {row.serves}"
        )
    reason = mismatch(applied, migrations())
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
        options = table_options(self.settings.retention)
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
        if not self._rows("system_schema.keyspaces", "keyspace_name"):
            replication = self._replication()
            self._ddl(f"CREATE KEYSPACE IF NOT EXISTS {self.keyspace} WITH {replication}")
        tables = {name for (name,) in self._rows("system_schema.tables", "table_name")}
        for name in _BOOKKEEPING.keys() - tables:
            table = f"{self.keyspace}.{name}"
            self._ddl(
                f"CREATE TABLE IF NOT EXISTS {table} ({_BOOKKEEPING[name]})"
                f" WITH id = {uuid.uuid5(_TABLE_IDS, table)}"
            )

    def _rows(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        cql = f"SELECT {columns} FROM {table} WHERE keyspace_name = %s"
        return list(self.session.execute(cql, (self.keyspace,)))

    def _replication(self) -> str:
        factors = "".join(f", '{dc}': '{n}'" for dc, n in self.settings.replication.items())
        return f"replication = {{'class': 'NetworkTopologyStrategy'{factors}}}"

    def replication_changes(self) -> list[str]:
        """The ALTER that makes the keyspace's replication what the settings say."""
        rows = self._rows("system_schema.keyspaces", "replication")
        found = {key: value for key, value in rows[0][0].items() if key != "class"} if rows else {}
        if found == {dc: str(n) for dc, n in self.settings.replication.items()}:
            return []
        return [f"ALTER KEYSPACE {self.keyspace} WITH {self._replication()}"]

    def option_changes(self) -> list[str]:
        """An ALTER for each table whose options do not follow from the retention."""
        wanted = table_options(self.settings.retention)
        columns = "table_name, default_time_to_live, gc_grace_seconds, compaction"
        return [
            f"ALTER TABLE {self.keyspace}.{name} WITH {wanted.cql()}"
            for name, ttl, grace, compaction in self._rows("system_schema.tables", columns)
            if name in TABLES and not _same(wanted, ttl, grace, compaction)
        ]

    def _migrate(self, migration: Migration, found: Applied | None, options: TableOptions) -> None:
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
            self._record(migration, error=str(error))
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
        # After a time-out the first try may have been applied: then the lock is ours already.
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
        """The row of a lightweight transaction, its first column whether it was applied."""
        try:
            row: tuple[Any, ...] = self.session.execute(cql.format(self.keyspace), values).one()
        except (WriteTimeout, OperationTimedOut):
            return None
        return row

    def _role(self) -> None:
        name = '"' + self.settings.role_name.replace('"', '""') + '"'
        password = self.settings.role_password.replace("'", "''")
        # Without a password it cannot log in: that comes with ALTER ROLE, new role or not.
        self._ddl(f"CREATE ROLE IF NOT EXISTS {name} WITH LOGIN = true")
        cql = f"ALTER ROLE {name} WITH PASSWORD = '{{}}' AND LOGIN = true"
        self._patiently(lambda: self._ddl(cql.format(password), shown=cql.format("***")))
        for permission in ("SELECT", "MODIFY"):
            self._ddl(f"GRANT {permission} ON KEYSPACE {self.keyspace} TO {name}")
        self._ddl(f"GRANT SELECT ON system_views.settings TO {name}")

    def _patiently(self, change: Callable[[], None]) -> None:
        """Cassandra lets a role's password be changed once in 5 s and calls more an overload."""
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
