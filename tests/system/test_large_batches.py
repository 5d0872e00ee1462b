"""Batches of up to 500 events, at a Cassandra that takes only small batches."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, run_schema_apply, variables, wait_for

KEYSPACE = "large"
# Cassandra refuses a batch over 3 KiB, which some 40 rows have.
SMALL = {
    "batch_size_warn_threshold": "2KiB",
    "batch_size_fail_threshold": "3KiB",
    "unlogged_batch_across_partitions_warn_threshold": 10,
}
LARGE = {"MAX_BATCH_EVENTS": "500", "MAX_BODY_BYTES": "131072"}
Batch = tuple[list[UUID], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Share a node that takes only small batches."""
    with Cluster(tmp_path_factory.mktemp("narrow"), yaml=SMALL) as cluster:
        run_schema_apply(cluster, KEYSPACE)
        yield cluster


@pytest.fixture
def service(narrow: Cluster) -> Iterator[Server]:
    with Server(variables(narrow, KEYSPACE, **LARGE)) as running:
        yield running.ready()


def batch() -> Batch:
    """Return 25 players with ten sessions each, and the 500 events of all."""
    players, now = [uuid4() for _ in range(25)], now_ms()
    events = []
    for player in players:
        for _ in range(10):
            session = uuid4()
            events += [start(player, session, now - 60_000), end(player, session, now)]
    return players, events


def is_stored(service: Server, players: list[UUID]) -> bool:
    return all(len(service.sessions(player)) == 10 for player in players)


def rows_written(service: Server) -> tuple[int, int]:
    """Return the number of group commits, and of those with at most 10 rows."""
    text = service.http.get(f"{service.probe_url}/metrics").text
    name = "player_sessions_group_commit_rows"
    (count,) = re.findall(rf"^{name}_count (\S+)$", text, re.MULTILINE)
    (small,) = re.findall(rf'^{name}_bucket\{{le="10.0"\}} (\S+)$', text, re.MULTILINE)
    return int(float(count)), int(float(small))


@pytest.mark.parametrize("prefer", ["handling=strict", "handling=lenient"])
def test_a_batch_of_500_events_is_stored_in_batches_that_the_server_takes(
    service: Server, prefer: str
) -> None:
    players, events = batch()
    answer = service.http.post("/v1/events", json={"events": events}, headers={"Prefer": prefer})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["accepted"], answer.json()["discarded"]) == (500, 0)
    assert is_stored(service, players)
    count, small = rows_written(service)
    assert count == small >= 50
    assert 'batch_events_bucket{le="500.0"} 1.0' in service.http.get("/metrics").text


def test_one_wrong_event_of_500_stores_nothing_or_with_lenient_the_others(service: Server) -> None:
    players, events = batch()
    events[123] = {**events[123], "ts": "soon"}
    strict = service.post(*events)
    assert strict.status_code == 422
    assert [error["index"] for error in strict.json()["errors"]] == [123]
    assert all(service.sessions(player) == [] for player in players)
    headers = {"Prefer": "handling=lenient"}
    answer = service.http.post("/v1/events", json={"events": events}, headers=headers)
    assert answer.json()["accepted"] == 499
    assert [error["index"] for error in answer.json()["rejected"]] == [123]
    assert sum(len(service.sessions(player)) for player in players) == 249


def test_more_events_than_the_setting_allows_are_refused(service: Server) -> None:
    player, session, now = uuid4(), uuid4(), now_ms()
    answer = service.post(*[start(player, session, now)] * 501)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "a batch has 1-500 events, not 501"
    document = service.http.get("/docs/openapi.json").json()
    (media,) = document["paths"]["/v1/events"]["post"]["requestBody"]["content"].values()
    assert media["schema"]["properties"]["events"]["maxItems"] == 500


def test_a_batch_is_acknowledged_only_when_all_its_parts_are_stored(narrow: Cluster) -> None:
    """Kill the node between the parts of a batch, and send what was not acknowledged again."""
    changes = {**LARGE, "WRITER_BATCHES_IN_FLIGHT": "1", "DEADLINE": "5s", "QUEUE_WAIT": "2s"}
    with Server(variables(narrow, KEYSPACE, **changes)) as service:
        service.ready()
        acknowledged, failed = until_it_fails(service, narrow)
        narrow.start_node(1)
        for players, events in failed:
            again = functools.partial(sent, service, events)
            wait_for(again, seconds=60, what="the batch is acknowledged")
            acknowledged.append(players)
        assert all(is_stored(service, players) for players in acknowledged)


def until_it_fails(service: Server, cluster: Cluster) -> tuple[list[list[UUID]], list[Batch]]:
    """Send batches, and kill the node at the third one; return (acknowledged, failed)."""
    acknowledged, failed = [], []
    for number in range(4):
        players, events = batch()
        with killed_soon(service, cluster) if number == 2 else contextlib.nullcontext():
            stored = sent(service, events)
        if stored:
            acknowledged.append(players)
        else:
            failed.append((players, events))
    assert acknowledged
    assert failed
    return acknowledged, failed


@contextlib.contextmanager
def killed_soon(service: Server, cluster: Cluster) -> Iterator[None]:
    """Kill the node as soon as some parts of the next batch have been written."""
    before, _ = rows_written(service)

    def kill() -> None:
        wait_for(lambda: rows_written(service)[0] >= before + 5, what="some parts are written")
        cluster.kill_node(1)

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()


def sent(service: Server, events: list[dict[str, Any]]) -> bool:
    """Return whether a batch is acknowledged; it must be answered 503 otherwise."""
    answer = service.http.post("/v1/events", json={"events": events})
    assert answer.status_code in (200, 503), answer.text
    return answer.status_code == 200
