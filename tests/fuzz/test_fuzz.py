"""Run `make fuzz` briefly, and check that it can tell good answers from bad ones."""

from __future__ import annotations

import asyncio

import pytest

from dev.cluster import Cluster
from dev.service import Server, variables
from loadtest.fuzz.__main__ import PATIENCE, aftermath, fault, fuzz
from loadtest.fuzz.cases import case, corpus


def test_bytes_that_are_nearly_a_request_break_nothing(cassandra: Cluster, keyspace: str) -> None:
    with Server(variables(cassandra, keyspace, **PATIENCE)) as service:
        port = int(service.ready().url.rpartition(":")[2])
        outcome = asyncio.run(fuzz(port, "test", 0, 6))
        assert outcome.faults == []
        assert aftermath(service) is None
    assert outcome.cases > 100
    assert {200, 400} <= set(outcome.statuses)


@pytest.mark.parametrize(
    ("said", "ended", "found"),
    [
        (b"", True, False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, False),
        (b"", False, True),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", True, True),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 500 Internal Server Error\r\n\r\n", True, True),
        (b'HTTP/1.1 400 Bad\r\n\r\nTraceback (most recent call last):\n  File "a"', True, True),
        (b"HTTP/1.1 400 Bad\r\n\r\ncassandra.InvalidRequest", True, True),
    ],
)
def test_a_fault_is_found_where_there_is_one(said: bytes, ended: bool, found: bool) -> None:
    assert bool(fault(said, ended=ended)) is found


def test_a_case_is_the_same_for_the_same_seed_and_number() -> None:
    good = corpus()
    assert [case("a", n, good) for n in range(50)] == [case("a", n, good) for n in range(50)]
    assert len({case("a", n, good) for n in range(50)}) > 45
