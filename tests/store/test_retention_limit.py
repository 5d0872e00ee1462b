"""A retention that Cassandra cannot store, since its times of expiry may have to end in 2038."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from cassandra import InvalidRequest, Unauthorized

from dev.cluster import Cluster
from dev.service import new_keyspace, wait_for
from player_sessions.rules.events import End, from_ms
from player_sessions.settings import load
from player_sessions.store.cluster import connect
from player_sessions.store.schema import apply as schema_apply
from player_sessions.store.store import now_ms
from tests.store.conftest import RunningStore
from tests.support import apply_schema, settings_of

LONG = "7300d"


@pytest.fixture(scope="module")
def compatible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run a node that stores what Cassandra 4 can read, as 5.0 does until it is told otherwise."""
    formats = {
        "storage_compatibility_mode": "CASSANDRA_4",
        "sstable": {"selected_format": "big"},
    }
    with Cluster(tmp_path_factory.mktemp("compatible"), yaml=formats) as cluster:
        yield cluster


def test_a_retention_beyond_2038_is_refused_by_schema_apply_and_by_readiness(
    compatible: Cluster,
) -> None:
    cluster, keyspace = compatible, new_keyspace()
    apply_schema(cluster, keyspace)
    reason = "expire after 2038-01-19, and its storage_compatibility_mode is CASSANDRA_4"
    with pytest.raises(schema_apply.SchemaError, match=reason):
        apply_schema(cluster, keyspace, RETENTION=LONG)
    with pytest.raises(schema_apply.SchemaError, match=reason):
        apply_schema(cluster, new_keyspace(), RETENTION=LONG)
    with RunningStore(settings_of(cluster, keyspace, RETENTION=LONG)) as running:
        wait_for(lambda: reason in str(running.store.reason), what="the reason")
    with RunningStore(settings_of(cluster, keyspace)) as running:
        assert running.connected().write(End(uuid4(), uuid4(), from_ms(now_ms()))) == (1, 0)


def test_the_longest_retention_that_is_named_can_be_kept(
    compatible: Cluster,
) -> None:
    cluster, keyspace, days = compatible, new_keyspace(), longest(compatible)
    apply_schema(cluster, keyspace, RETENTION=f"{days}d")
    with RunningStore(settings_of(cluster, keyspace, RETENTION=f"{days}d")) as running:
        ahead = End(uuid4(), uuid4(), from_ms(now_ms() + 299_000))
        assert running.connected().write(ahead) == (1, 0)


def longest(cluster: Cluster) -> int:
    """Return the days that the refusal of a longer retention names."""
    with pytest.raises(schema_apply.SchemaError) as raised:
        apply_schema(cluster, new_keyspace(), RETENTION=LONG)
    return int(str(raised.value).partition("at most ")[2].partition("d")[0])


def test_cassandra_itself_refuses_such_a_row(compatible: Cluster) -> None:
    """What we refuse beforehand would be an error of every write."""
    cluster, keyspace = compatible, new_keyspace()
    apply_schema(cluster, keyspace)
    driver, session = connect(settings_of(cluster, keyspace))
    try:
        with pytest.raises(InvalidRequest, match="2038"):
            session.execute(
                f"INSERT INTO {keyspace}.session_ends (player_id, ended_at, session_id)"
                " VALUES (uuid(), 0, uuid()) USING TTL 630000000"
            )
    finally:
        driver.shutdown()


def test_where_the_mode_is_none_the_longest_retention_is_kept(cassandra: Cluster) -> None:
    keyspace = new_keyspace()
    apply_schema(cassandra, keyspace, RETENTION=LONG)
    with RunningStore(settings_of(cassandra, keyspace, RETENTION=LONG)) as running:
        ahead = End(uuid4(), uuid4(), from_ms(now_ms() + 200_000))
        assert running.connected().write(ahead) == (1, 0)


class Answer:
    """A double of the result that has one row, or none."""

    def __init__(self, *row: str) -> None:
        self.row = row or None

    def one(self) -> tuple[str, ...] | None:
        return self.row


def unkept(answer: Any, retention: str = LONG) -> str | None:
    def execute(_: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return schema_apply.unkept_retention(load({"PLAYER_SESSIONS_RETENTION": retention}), execute)


def test_a_server_before_5_0_has_no_mode_and_ends_in_2038_too() -> None:
    assert "unknown, as before 5.0" in str(unkept(Answer()))


def test_a_cluster_that_is_being_upgraded_is_refused_since_a_node_of_it_may_be_older() -> None:
    assert "storage_compatibility_mode is UPGRADING" in str(unkept(Answer("UPGRADING")))
    assert unkept(Answer("NONE")) is None


def test_without_the_grant_nothing_is_claimed() -> None:
    assert unkept(Unauthorized("x")) is None


def test_the_server_is_not_asked_about_a_retention_that_every_one_keeps() -> None:
    assert unkept(AssertionError("asked"), "365d") is None


def test_a_retention_comes_to_its_end_when_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unkept(Answer("CASSANDRA_4"), "365d") is None
    monkeypatch.setattr(time, "time", lambda: 2**31 - 365.0 * 86_400)
    assert "at most 364d" in str(unkept(Answer("CASSANDRA_4"), "365d"))
