"""Sending one statement: deadline, second node, retry and budget; the driver is a double."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from cassandra import InvalidRequest, OperationTimedOut, Unauthorized, Unavailable, WriteTimeout
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.protocol import OverloadedErrorMessage, SyntaxException
from cassandra.query import Statement

from player_sessions.rules.reasons import QUEUE_FULL
from player_sessions.settings import Settings, load
from player_sessions.store.budget import Budget
from player_sessions.store.cluster import _tls_context
from player_sessions.store.errors import StoreError, translate
from player_sessions.store.requests import Client

TIMED_OUT = WriteTimeout("x", write_type=0)
HOSTS = ["one", "two", "three"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def grants(budget: Budget) -> int:
    count = 0
    while budget.take():
        count += 1
    return count


def test_a_budget_grants_a_share_of_the_last_minute_and_a_little_at_rest() -> None:
    clock = Clock()
    budget = Budget(0.1, clock)
    assert grants(budget) == Budget.AT_REST
    for _ in range(1000):
        budget.count()
    assert grants(budget) == 100
    clock.now = 59
    assert grants(budget) == 0
    clock.now = 61
    assert grants(budget) == Budget.AT_REST


def test_a_budget_of_nothing_grants_nothing() -> None:
    assert not Budget(0.0).take()


OVERLOADED: Exception = OverloadedErrorMessage(0x1001, "overloaded", None)


@pytest.mark.parametrize(
    ("error", "reason", "one_range"),
    [
        (Unavailable("x"), "store-unavailable", True),
        (TIMED_OUT, "store-timeout", True),
        (OperationTimedOut(), "store-timeout", False),
        (NoHostAvailable("x", {}), "store-unavailable", False),
        (ConnectionException("x"), "store-unavailable", False),
        (Unauthorized("x"), "store-unavailable", False),
        (OVERLOADED, "store-overloaded", False),
        (StoreError(QUEUE_FULL, "x"), "queue-full", False),
    ],
)
def test_an_error_from_cassandra_becomes_a_store_error(
    error: Exception, reason: str, one_range: bool
) -> None:
    fault = translate(error)
    assert isinstance(fault, StoreError)
    assert (fault.reason.name, fault.one_range) == (reason, one_range)


@pytest.mark.parametrize(
    "bug", [InvalidRequest("x"), SyntaxException(0x2000, "x", None), KeyError()]
)
def test_a_bug_of_ours_is_not_translated(bug: Exception) -> None:
    assert translate(bug) is bug


class Driver:
    """A double of the driver's session that keeps requests and answers when told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.callbacks: list[tuple[Callable[..., Any], Callable[..., Any], str]] = []

    def execute_async(self, _: Statement, *, timeout: None, host: str) -> Any:
        assert timeout is None  # the driver's own timer stays off
        self.asked.append(host)

        def add_callbacks(
            rows: Any, error: Any, *, callback_args: tuple[str], errback_args: tuple[str]
        ) -> None:
            assert callback_args == errback_args == (host,)
            self.callbacks.append((rows, error, host))

        return SimpleNamespace(add_callbacks=add_callbacks)

    def answer(self, which: int, rows: Any = "rows") -> Any:
        return self.callbacks[which][0](rows, self.callbacks[which][2])

    def fail(self, which: int, error: BaseException) -> Any:
        return self.callbacks[which][1](error, self.callbacks[which][2])


class Sending:
    """One statement in flight on a loop; `outcome` collects the calls of `done`."""

    def __init__(self, hosts: list[str], *, share: float, after: float, deadline: float) -> None:
        self.driver = Driver()
        self.outcome: list[Any] = []
        self.client = client = Client.__new__(Client)
        client._loop = asyncio.get_running_loop()
        client._budget = Budget(share)
        client._speculation_after = after
        client._late = set()
        client.policy = SimpleNamespace(make_query_plan=lambda *_: iter(hosts))
        client.session = self.driver
        self._deadline = deadline
        self.send()

    def send(self) -> None:
        self.client.send(Statement(), self._deadline, lambda *got: self.outcome.append(got))

    @property
    def reason(self) -> str:
        ((rows, error),) = self.outcome
        assert rows is None
        assert isinstance(error, StoreError)
        return error.reason.name


def sending(
    script: Callable[[Sending], Any],
    hosts: list[str] = HOSTS,
    share: float = 0.1,
    after: float = 9.0,
    deadline: float = 10.0,
) -> Sending:
    """Start a statement, then run the script in steps, with a turn of the loop after each."""

    async def run() -> Sending:
        sent = Sending(hosts, share=share, after=after, deadline=deadline)
        for step in script(sent) or ():
            if isinstance(step, float):
                await asyncio.sleep(step)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return sent

    return asyncio.run(run())


def test_the_first_answer_is_the_outcome_and_a_second_counts_for_nothing() -> None:
    def script(sent: Sending) -> Any:
        yield sent.driver.answer(0)
        yield sent.driver.answer(0, "late")
        yield sent.driver.fail(0, TIMED_OUT)

    sent = sending(script)
    assert (sent.driver.asked, sent.outcome) == (["one"], [("rows", None)])


def test_a_slow_node_is_joined_by_the_next_and_the_first_answer_wins() -> None:
    def script(sent: Sending) -> Any:
        yield 0.02
        yield sent.driver.answer(1, "second")
        yield sent.driver.answer(0, "first")

    sent = sending(script, after=0.01)
    assert (sent.driver.asked, sent.outcome) == (["one", "two"], [("second", None)])


@pytest.mark.parametrize("how", ["answers", "fails"])
def test_a_node_that_keeps_a_request_waiting_is_asked_last_until_it_speaks(how: str) -> None:
    def script(sent: Sending) -> Any:
        yield 0.02
        sent.send()
        yield
        assert sent.driver.asked == ["one", "two", "two"]
        yield sent.driver.answer(0) if how == "answers" else sent.driver.fail(0, TIMED_OUT)
        sent.send()
        yield
        assert sent.driver.asked[-1] == "one"

    sending(script, after=0.01)


def test_without_budget_a_slow_node_is_waited_for() -> None:
    def script(sent: Sending) -> Any:
        yield 0.02
        yield sent.driver.answer(0)

    sent = sending(script, share=0.0, after=0.01)
    assert (sent.driver.asked, sent.outcome) == (["one"], [("rows", None)])


def test_a_failure_is_tried_once_more_on_another_node() -> None:
    def script(sent: Sending) -> Any:
        yield sent.driver.fail(0, TIMED_OUT)
        yield sent.driver.fail(1, TIMED_OUT)

    sent = sending(script)
    assert (sent.driver.asked, sent.reason) == (["one", "two"], "store-timeout")


def test_an_overloaded_node_is_not_asked_twice() -> None:
    sent = sending(lambda sent: [sent.driver.fail(0, OVERLOADED)])
    assert (sent.driver.asked, sent.reason) == (["one"], "store-overloaded")


def test_a_bug_of_ours_is_not_tried_again() -> None:
    sent = sending(lambda sent: [sent.driver.fail(0, InvalidRequest("x"))])
    assert sent.driver.asked == ["one"]
    assert isinstance(sent.outcome[0][1], InvalidRequest)


def test_nodes_that_could_not_be_asked_cost_no_budget() -> None:
    def script(sent: Sending) -> Any:
        yield sent.driver.fail(0, NoHostAvailable("x", {}))
        yield sent.driver.fail(1, NoHostAvailable("x", {}))
        yield sent.driver.answer(2)

    sent = sending(script, share=0.0)
    assert (sent.driver.asked, sent.outcome) == (HOSTS, [("rows", None)])


def test_when_no_node_can_be_asked_it_fails_at_once() -> None:
    assert sending(lambda _: None, hosts=[]).reason == "store-unavailable"
    sent = sending(lambda sent: [sent.driver.fail(0, NoHostAvailable("x", {}))], hosts=["one"])
    assert sent.reason == "store-unavailable"


def test_a_failure_beside_an_open_attempt_waits_for_that_one() -> None:
    def script(sent: Sending) -> Any:
        yield 0.02
        yield sent.driver.fail(0, OVERLOADED)
        yield sent.driver.answer(1)

    assert sending(script, after=0.01).outcome == [("rows", None)]


@pytest.mark.parametrize("after", [0.005, 9.0])
def test_at_the_deadline_it_is_given_up(after: float) -> None:
    def script(sent: Sending) -> Any:
        yield 0.03
        yield sent.driver.answer(0, "late")

    assert sending(script, after=after, deadline=0.02).reason == "store-timeout"


def test_a_file_that_is_no_certificate_is_an_error_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    bad.write_text("no")
    with pytest.raises(ssl.SSLError):
        _tls_context(Settings(cassandra_tls_ca_file=str(bad)))


def test_the_name_check_is_on_unless_switched_off(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for switch, checked in (("on", True), ("off", False)):
        settings = load(
            {
                "PLAYER_SESSIONS_CASSANDRA_TLS": "on",
                "PLAYER_SESSIONS_CASSANDRA_TLS_CA_FILE": str(tmp_path / "ca.pem"),
                "PLAYER_SESSIONS_CASSANDRA_TLS_CHECK_NAME": switch,
            }
        )
        assert _tls_context(settings).check_hostname is checked
