"""`schema apply` and `schema status`, and which schema a service accepts, on a real Cassandra."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cassandra import Unauthorized
from cassandra.cluster import NoHostAvailable

from dev.cluster import Cluster
from dev.service import COMMAND, PASSWORD, SUPERUSER, new_keyspace, variables, wait_for
from player_sessions.settings import PREFIX
from player_sessions.store import schema
from player_sessions.store.cluster import build_cluster
from player_sessions.store.schema import apply as schema_apply
from tests.store.conftest import RunningStore
from tests.support import apply_schema, settings_of


def command(cluster: Cluster, keyspace: str, *arguments: str, **changes: str) -> Any:
    """Run `player-sessions schema …` as a process, with the superuser's login."""
    return subprocess.run(
        [COMMAND, "schema", *arguments],
        env=clean_environ() | variables(cluster, keyspace, **{**SUPERUSER, **changes}),
        capture_output=True,
        text=True,
        timeout=120,
    )


@contextmanager
def waiting(
    cluster: Cluster, keyspace: str, said: str, *arguments: str, **changes: str
) -> Iterator[None]:
    """Run the body while the command says that it waits; then the command must succeed."""
    with subprocess.Popen(
        [COMMAND, "schema", *arguments],
        env=clean_environ() | variables(cluster, keyspace, **{**SUPERUSER, **changes}),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if said in line:
                break
        assert process.poll() is None, f"the command did not wait: {lines}"
        yield
        lines += process.stderr.readlines()
        assert process.wait(120) == 0, lines


def clean_environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def options(superuser: Any, keyspace: str) -> set[tuple[Any, ...]]:
    rows = superuser.execute(
        "SELECT default_time_to_live, gc_grace_seconds, compaction FROM system_schema.tables"
        " WHERE keyspace_name = %s AND table_name IN ('session_starts', 'session_ends')",
        (keyspace,),
    )
    return {
        (ttl, grace, c["compaction_window_unit"], c["compaction_window_size"],
         c["expired_sstable_check_frequency_seconds"], c["class"].rpartition(".")[2])
        for ttl, grace, c in rows
    }  # fmt: skip


@pytest.fixture
def fresh() -> str:
    return new_keyspace()


def test_the_second_apply_finds_nothing_to_do(cassandra: Cluster, fresh: str) -> None:
    status = command(cassandra, fresh, "status")
    assert (status.returncode, "not applied" in status.stdout) == (1, True)
    first = command(cassandra, fresh, "apply")
    assert (first.returncode, first.stdout) == (0, "schema applied, 8 statements\n")
    again = command(cassandra, fresh, "apply")
    assert (again.returncode, again.stdout) == (0, "nothing to do\n")
    status = command(cassandra, fresh, "status")
    assert status.returncode == 0
    assert "1: done, serves 1" in status.stdout
    assert "2: done, serves 1" in status.stdout


def test_two_processes_at_once_apply_it_once(
    cassandra: Cluster, fresh: str, superuser: Any
) -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: command(cassandra, fresh, "apply"), range(2)))
    assert [run.returncode for run in runs] == [0, 0], [run.stderr for run in runs]
    done = [run.stderr.count("migration 1 (sessions) done") for run in runs]
    assert sorted(done) == [0, 1]
    assert superuser.execute(f"SELECT count(*) FROM {fresh}.schema_lock").one()[0] == 0


def test_the_tables_follow_the_retention_and_are_altered_when_it_changes(
    cassandra: Cluster, fresh: str, superuser: Any
) -> None:
    apply_schema(cassandra, fresh)
    twcs = "TimeWindowCompactionStrategy"
    assert options(superuser, fresh) == {(31_536_000, 864_000, "DAYS", "14", "600", twcs)}
    status = command(cassandra, fresh, "status", RETENTION="2h")
    assert status.returncode == 1
    assert status.stdout.count("differs from the settings: ALTER TABLE") == 2
    assert command(cassandra, fresh, "apply", RETENTION="2h").returncode == 0
    assert options(superuser, fresh) == {(7200, 200, "MINUTES", "5", "30", twcs)}


def test_the_replication_follows_the_settings(
    cassandra: Cluster, fresh: str, superuser: Any
) -> None:
    apply_schema(cassandra, fresh)
    simple = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    superuser.execute(f"ALTER KEYSPACE {fresh} WITH replication = {simple}")
    assert command(cassandra, fresh, "apply").returncode == 0
    (replication,) = superuser.execute(
        "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s", (fresh,)
    ).one()
    assert replication["dc1"] == "1"
    assert replication["class"].endswith("NetworkTopologyStrategy")


def test_the_role_may_read_and_write_its_keyspace_and_nothing_else(
    cassandra: Cluster, keyspace: str, superuser: Any
) -> None:
    rows = superuser.execute("SELECT role, resource, permissions FROM system_auth.role_permissions")
    mine = {(resource, *sorted(p)) for role, resource, p in rows if role == keyspace}
    assert mine == {
        (f"data/{keyspace}", "MODIFY", "SELECT"),
        ("data/system_views/settings", "SELECT"),
    }
    service = build_cluster(settings_of(cassandra, keyspace))
    try:
        session = service.connect()
        for cql in (
            f"DROP TABLE {keyspace}.session_ends",
            f"ALTER TABLE {keyspace}.session_ends WITH default_time_to_live = 0",
            "SELECT * FROM system_auth.roles",
            "CREATE ROLE intruder",
        ):
            with pytest.raises(Unauthorized):
                session.execute(cql)
    finally:
        service.shutdown()


def test_a_changed_password_of_the_role_is_taken(cassandra: Cluster, keyspace: str) -> None:
    def accepted(password: str) -> bool:
        service = build_cluster(settings_of(cassandra, keyspace, CASSANDRA_PASSWORD=password))
        try:
            service.connect()
            return True
        except NoHostAvailable:
            return False
        finally:
            service.shutdown()

    role = {"ROLE_NAME": keyspace, "ROLE_PASSWORD": "new"}
    try:
        assert command(cassandra, keyspace, "apply", **role).returncode == 0
        wait_for(lambda: accepted("new"), what="the new password")
        wait_for(lambda: not accepted(PASSWORD), what="the old password is refused")
    finally:
        role["ROLE_PASSWORD"] = PASSWORD
        run = command(cassandra, keyspace, "apply", **role)
        assert run.returncode == 0, run.stderr
        wait_for(lambda: accepted(PASSWORD), what="the old password again")
    assert PASSWORD not in run.stdout + run.stderr


NEXT = len(schema.migrations()) + 1


def one_migration_more(monkeypatch: pytest.MonkeyPatch, text: str, serves: int = 1) -> None:
    known = [*schema.migrations(), schema.Migration(NEXT, "next", serves, text)]
    monkeypatch.setattr(schema_apply, "migrations", lambda: known)


def test_a_half_applied_migration_is_recorded_and_finished_by_the_next_run(
    cassandra: Cluster, fresh: str, superuser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = "ALTER TABLE $keyspace.session_starts ADD IF NOT EXISTS {} int;"
    one_migration_more(monkeypatch, add.format("a") + "ALTER TABLE $keyspace.nowhere ADD b int;")
    with pytest.raises(Exception, match="nowhere"):
        apply_schema(cassandra, fresh)
    row = superuser.execute(
        f"SELECT statements_done, done_at, error FROM {fresh}.schema_migrations"
        f" WHERE number = {NEXT}"
    ).one()
    assert row[:2] == (1, None)
    assert "nowhere" in row[2]
    assert superuser.execute(f"SELECT count(*) FROM {fresh}.schema_lock").one()[0] == 0
    # A release that corrects a statement that never was done may finish the migration.
    one_migration_more(monkeypatch, add.format("a") + add.format("b"))
    assert apply_schema(cassandra, fresh) > 0
    row = superuser.execute(
        f"SELECT statements_done, done_at, error FROM {fresh}.schema_migrations"
        f" WHERE number = {NEXT}"
    ).one()
    assert (row[0], row[1] is not None, row[2]) == (2, True, None)


def test_an_edited_migration_is_refused(
    cassandra: Cluster, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_schema(cassandra, fresh)
    edited = [replace(m, text=m.text + "-- edited\n") for m in schema.migrations()]
    monkeypatch.setattr(schema_apply, "migrations", lambda: edited)
    with pytest.raises(schema_apply.SchemaError, match="never edited"):
        apply_schema(cassandra, fresh)


def test_a_lock_held_by_another_is_waited_for(
    cassandra: Cluster, fresh: str, superuser: Any
) -> None:
    apply_schema(cassandra, fresh)
    superuser.execute(f"INSERT INTO {fresh}.schema_lock (name, owner) VALUES ('schema', 'x')")
    with waiting(cassandra, fresh, "another", "apply"):
        superuser.execute(f"DELETE FROM {fresh}.schema_lock WHERE name = 'schema' IF owner = 'x'")


def test_a_lost_lock_stops_the_work(
    cassandra: Cluster, fresh: str, superuser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steal = f"INSERT INTO {fresh}.schema_lock (name, owner) VALUES ('schema', 'thief')"
    monkeypatch.setattr(
        schema_apply._Application, "_record", lambda *_, **__: superuser.execute(steal)
    )
    with pytest.raises(schema_apply.SchemaError, match="lost"):
        apply_schema(cassandra, fresh)


def test_a_service_runs_on_a_newer_schema_that_serves_it_and_on_no_other(
    cassandra: Cluster, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(cassandra, fresh, **SUPERUSER)
    with RunningStore(settings) as running:
        wait_for(lambda: "not applied" in str(running.store.reason), what="a reason")
        one_migration_more(
            monkeypatch, "ALTER TABLE $keyspace.session_starts ADD IF NOT EXISTS a int;"
        )
        apply_schema(cassandra, fresh)
        running.connected()  # it connects: N-1 runs on N's schema
    one_migration_more(monkeypatch, "-- nothing\n", serves=NEXT)
    with RunningStore(settings) as running:
        wait_for(lambda: "differs" in str(running.store.reason) or running.store.reason is None)
        assert running.store.reason is None


def test_a_migration_that_old_services_cannot_bear_stops_them_with_its_number(
    cassandra: Cluster, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_migration_more(
        monkeypatch, "ALTER TABLE $keyspace.session_starts ADD IF NOT EXISTS a int;", serves=NEXT
    )
    apply_schema(cassandra, fresh)
    with RunningStore(settings_of(cassandra, fresh)) as running:
        wait_for(
            lambda: str(running.store.reason).startswith(
                f"migration {NEXT} of the database serves"
            ),
            what="the reason names the migration",
        )


def test_no_cassandra_is_one_clear_line_and_exit_code_1(cassandra: Cluster, tmp_path: Path) -> None:
    run = command(cassandra, "nowhere", "apply", "--wait", "1", CASSANDRA_PORT="1")
    assert run.returncode == 1
    assert "PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr


def test_a_wrong_password_is_named(cassandra: Cluster) -> None:
    run = command(cassandra, "nowhere", "status", "--wait", "1", CASSANDRA_PASSWORD="wrong")
    assert run.returncode == 1
    assert "PLAYER_SESSIONS_CASSANDRA_USERNAME and _PASSWORD" in run.stderr.splitlines()[-1]
    assert "wrong'" not in run.stderr


def test_a_login_that_stays_refused_ends_with_the_name_of_its_secret(cassandra: Cluster) -> None:
    begun = time.monotonic()
    run = command(
        cassandra, "nowhere", "apply", "--login-wait", "2", "--login-from", "Secret games/boss",
        CASSANDRA_PASSWORD="no",
    )  # fmt: skip
    assert run.returncode == 1
    assert time.monotonic() - begun > 1  # it retried, and then gave up
    assert "next try in" in run.stderr
    assert run.stderr.splitlines()[-1].endswith("wrong user or password in Secret games/boss")


def test_a_superuser_that_comes_late_is_waited_for(
    cassandra: Cluster, fresh: str, superuser: Any
) -> None:
    late = {"CASSANDRA_USERNAME": fresh, "CASSANDRA_PASSWORD": "late"}
    with waiting(cassandra, fresh, "next try in", "apply", **late):
        superuser.execute(
            f"CREATE ROLE {fresh} WITH SUPERUSER = true AND LOGIN = true AND PASSWORD = 'late'"
        )
