"""Compare random histories on the real store with an oracle that knows only the promises."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from dev.game_events import now_ms
from player_sessions.rules import sessions as rules
from player_sessions.rules.events import End, Event, Start, from_ms
from tests.oracle import AGES, YEAR_MS, Oracle, Session
from tests.store.conftest import RunningStore


def as_promised(session: rules.Session) -> Session:
    """Return what the store lists as the oracle has it."""
    assert session.country is not None
    session_id = UUID(bytes=session.session_id)
    return Session(session_id, session.country.decode(), session.started_at, session.ended_at)


class Histories(RuleBasedStateMachine):
    store: RunningStore

    def __init__(self) -> None:
        super().__init__()
        self.now = now_ms() // 1000 * 1000
        self.players = [uuid4(), uuid4()]
        self.ids = [uuid4() for _ in range(7)]
        self.oracle = Oracle()
        self.sent: list[Event] = []

    def send(self, events: list[Event]) -> None:
        now = now_ms()
        stored, discarded = self.store.write(*events)
        assert stored + discarded == len(events)
        assert discarded == sum(event.at_ms <= now - YEAR_MS for event in events)
        for event in events:
            self.oracle.add(event, now)
        self.sent += events

    @rule(data=st.data(), count=st.integers(1, 10))
    def new_events(self, data: Any, count: int) -> None:
        def event() -> Event:
            kind = data.draw(st.sampled_from(["start", "end"]))
            country = data.draw(st.sampled_from(["FI", "SE", "UK"] + [None] * (kind == "end")))
            values = (
                data.draw(st.sampled_from(self.players)),
                data.draw(st.sampled_from(self.ids)),
                from_ms(self.now - data.draw(st.sampled_from(AGES))),
                country,
            )
            return Start(*values) if kind == "start" else End(*values)

        self.send([event() for _ in range(count)])

    @rule(data=st.data())
    @precondition(lambda self: self.sent)
    def resend_some_in_any_order(self, data: Any) -> None:
        some = data.draw(st.lists(st.sampled_from(self.sent), min_size=1, max_size=10))
        self.send(some)

    @rule(player=st.sampled_from([0, 1]), limit=st.integers(1, 20))
    def page_through(self, player: int, limit: int) -> None:
        pages = self.store.pages(self.players[player], limit)
        assert all(len(page.sessions) <= limit for page in pages)
        listed = [as_promised(each) for page in pages for each in page.sessions]
        assert listed == self.oracle.sessions(self.players[player])

    @invariant()
    def the_first_page_is_the_newest_twenty(self) -> None:
        for player in self.players:
            page = self.store.read(player)
            listed = [as_promised(each) for each in page.sessions]
            assert listed == self.oracle.sessions(player)[:20]


def test_any_history_reads_as_if_it_had_come_once_and_in_order(store: RunningStore) -> None:
    Histories.store = store
    run_machine(
        Histories,
        settings=settings(
            max_examples=60,
            stateful_step_count=15,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("limit", range(1, 21))
def test_a_cursor_passes_through_equal_ends(store: RunningStore, limit: int) -> None:
    player, now = uuid4(), now_ms()
    ids = [uuid4() for _ in range(25)]
    for begin in range(0, 25, 5):
        some = ids[begin : begin + 5]
        store.write(
            *(Start(player, i, from_ms(now - 5000), "FI") for i in some),
            *(End(player, i, from_ms(now)) for i in some),
        )
    pages = store.pages(player, limit)
    listed = [session.session_id for page in pages for session in page.sessions]
    assert listed == sorted((i.bytes for i in ids), reverse=True)


def test_a_walk_past_many_ends_without_start_is_bounded_and_goes_on(store: RunningStore) -> None:
    player, whole, now = uuid4(), uuid4(), now_ms()
    lone = [[End(player, uuid4(), from_ms(now - n))] for n in range(1200)]
    store.write_all(lone)
    store.write(
        Start(player, whole, from_ms(now - 9000), "FI"),
        End(player, whole, from_ms(now - 5000)),
    )
    pages = store.pages(player, 20)
    assert [len(page.sessions) for page in pages] == [0, 0, 1]
