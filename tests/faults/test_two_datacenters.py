"""Two data centres with three real nodes each: one is lost whole, and the other goes on."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, run_schema_apply, variables, wait_for

pytestmark = pytest.mark.long
KEYSPACE = "regions"
BATCHES = 300


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("six")
    with Cluster(folder, nodes=6, datacenters=2) as cluster:
        run_schema_apply(cluster, KEYSPACE, REPLICATION="dc1:3,dc2:3")
        yield cluster


def beside(cluster: Cluster, number: int) -> Server:
    """Start a service whose local data centre is dc<number>."""
    nodes = ",".join(cluster.address(node) for node in cluster.datacenter(number))
    local = {"CASSANDRA_CONTACT_POINTS": nodes, "CASSANDRA_LOCAL_DC": f"dc{number}"}
    return Server(variables(cluster, KEYSPACE, **local)).ready()


def post(service: Server, player: UUID, session: UUID) -> int:
    now = now_ms()
    return service.post(start(player, session, now - 1000), end(player, session, now)).status_code


def stored(service: Server, acknowledged: dict[UUID, UUID]) -> bool:
    """Return whether the service reads every player's one session."""
    for player, session in acknowledged.items():
        answer = service.http.get(f"/v1/players/{player.hex}/sessions")
        if answer.status_code != 200:
            return False
        if [each["session_id"] for each in answer.json()["sessions"]] != [str(session)]:
            return False
    return True


def test_one_data_centre_is_lost_and_the_other_goes_on_without_an_error(six: Cluster) -> None:
    before = {uuid4(): uuid4() for _ in range(20)}
    meanwhile = {uuid4(): uuid4() for _ in range(BATCHES)}
    with beside(six, 1) as first, beside(six, 2) as second:
        assert {post(first, *each) for each in before.items()} == {200}
        wait_for(lambda: stored(second, before), what="dc2 has what dc1 acknowledged")
        for node in six.datacenter(1):
            six.kill_node(node)
        assert {post(second, *each) for each in meanwhile.items()} == {200}
        assert stored(second, before | meanwhile)
        assert post(first, uuid4(), uuid4()) == 503  # its region is gone
        for node in six.datacenter(1):
            six.start_node(node, wait=False)
        for node in six.datacenter(1):
            six.wait_node(node)
        wait_for(
            lambda: post(first, uuid4(), uuid4()) == 200, seconds=60, what="dc1 is written again"
        )
        wait_for(
            lambda: stored(first, meanwhile), seconds=180, what="hints brought dc1 what it missed"
        )
