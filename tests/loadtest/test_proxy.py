"""The proxy before Cassandra leaves no connection behind, whatever its two ends do."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Iterator

import pytest

from loadtest.overload.proxy import proxy


@pytest.fixture
def silent_node() -> Iterator[socket.socket]:
    """Listen like a frozen node whose queue of new connections is full."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as node,
        socket.create_connection(node.getsockname()),
    ):
        yield node


def test_a_client_that_goes_while_the_node_does_not_answer_leaves_nothing_behind(
    silent_node: socket.socket,
) -> None:
    with proxy(silent_node.getsockname()) as made:
        with socket.create_connection((made.host, made.port)):
            pass
        time.sleep(0.2)
    gc.collect()  # a connection that nobody closed is reported now, and fails the test
