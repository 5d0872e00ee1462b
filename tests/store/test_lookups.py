"""Look up single sessions on the real store, after histories in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev.cluster import Cluster
from dev.game_events import DAY_MS, now_ms
from dev.service import wait_for
from player_sessions.rules.events import End, Event, Start, from_ms
from player_sessions.rules.reasons import TOO_MANY_READS
from player_sessions.store.errors import StoreError
from tests.oracle import AGES, YEAR_MS, Oracle, SessionState
from tests.store.conftest import RunningStore
from tests.support import settings_of

SESSIONS = [uuid4() for _ in range(4)]
ANY_HISTORY = settings(
    max_examples=60, suppress_health_check=list(HealthCheck)
)  # each example has a player of its own


@st.composite
def histories(draw: Any) -> list[list[Event]]:
    """Return batches of a player's events: few sessions, equal times, late and old, some twice."""
    now, player = now_ms() // 1000 * 1000, uuid4()
    ids, ages = st.sampled_from(SESSIONS), st.sampled_from(AGES).map(lambda age: from_ms(now - age))
    starts = st.builds(Start, st.just(player), ids, ages, st.sampled_from(["FI", "SE"]))
    ends = st.builds(End, st.just(player), ids, ages)
    sent = draw(st.lists(starts | ends, min_size=1, max_size=12))
    sent += draw(st.lists(st.sampled_from(sent), max_size=6))
    batches = []
    while sent:
        size = draw(st.integers(1, min(10, len(sent))))
        batches.append(sent[:size])
        sent = sent[size:]
    return batches


@ANY_HISTORY
@given(history=histories())
def test_sessions_and_the_latest_one_are_as_their_events_say_in_any_order(
    store: RunningStore, history: list[list[Event]]
) -> None:
    player, oracle = history[0][0].player_id, Oracle()
    for batch in history:
        now = now_ms()
        store.write(*batch)
        for event in batch:
            oracle.add(event, now)
    for session in SESSIONS:
        state, expected = store.session(player, session), oracle.state(player, session)
        assert (state and SessionState(*state)) == expected
        assert (state and state.status) == (expected and expected.status)
    latest = store.presence(player).latest
    assert (latest and SessionState(*latest)) in oracle.latest(player)


def minutes_ago(minutes: int) -> datetime:
    return from_ms(now_ms() - minutes * 60_000)


@pytest.mark.parametrize("others", [0, 15, 600])
def test_the_newest_end_counts_among_any_number_of_ends(store: RunningStore, others: int) -> None:
    player, session = uuid4(), uuid4()
    newer = [End(player, uuid4(), from_ms(now_ms() - n)) for n in range(others)]
    store.write_all([newer[n : n + 10] for n in range(0, others, 10)])
    started, ended = minutes_ago(60), minutes_ago(20)
    store.write(Start(player, session, started, "FI"))
    state = store.session(player, session)
    assert state is not None
    assert (state.status, state.duration_seconds) == ("open", None)
    for end in (ended, minutes_ago(30), minutes_ago(40)):
        store.write(End(player, session, end))
    state = store.session(player, session)
    assert state is not None
    assert from_ms(state.ended_at or 0) == from_ms(End(player, session, ended).at_ms)
    assert state.status == "complete"


def test_an_end_before_its_start_is_found(store: RunningStore) -> None:
    player, session = uuid4(), uuid4()
    store.write(Start(player, session, minutes_ago(1), "FI"))
    store.write(End(player, session, from_ms(now_ms() - 300 * DAY_MS)))
    state = store.session(player, session)
    assert state is not None
    assert (state.status, state.duration_seconds) == ("complete", 0)


def test_no_session_of_another_player_is_found(store: RunningStore) -> None:
    player, session = uuid4(), uuid4()
    store.write(Start(player, session, minutes_ago(2), "FI"), End(player, session, minutes_ago(1)))
    assert store.session(uuid4(), session) is None
    assert store.session(player, uuid4()) is None


def test_a_session_is_gone_event_by_event_when_the_retention_has_passed(
    store: RunningStore,
) -> None:
    player, session, due = uuid4(), uuid4(), now_ms() + 10_000
    store.write(
        Start(player, session, from_ms(due - YEAR_MS), "FI"),
        End(player, session, from_ms(due + 5000 - YEAR_MS)),
    )

    def status() -> str | None:
        state = store.session(player, session)
        return state and state.status

    assert status() == "complete"
    wait_for(lambda: status() != "complete", what="the start is gone")
    assert now_ms() >= due
    wait_for(lambda: status() is None, what="the end is gone")
    assert now_ms() >= due + 5000


def test_a_start_alone_of_some_other_session_leaves_this_one_unstarted(
    store: RunningStore,
) -> None:
    player, session = uuid4(), uuid4()
    store.write(End(player, session, minutes_ago(1)), Start(player, uuid4(), minutes_ago(1), "FI"))
    state = store.session(player, session)
    assert state is not None
    assert (state.status, state.country, state.duration_seconds) == ("unstarted", None, None)


def test_the_latest_start_wins_in_every_order(store: RunningStore) -> None:
    first, second, third = (uuid4() for _ in range(3))
    now = now_ms() - 1000
    events = [
        (first, now - 5000, "FI"),
        (second, now - 5000, "SE"),  # a tie, which the country decides
        (third, now - 9000, "ZZ"),
        (third, now - 6000, "AA"),
        (second, now - 400 * DAY_MS, "ZZ"),
    ]
    for order in permutations(events):
        player = uuid4()
        for session, at, country in (*order, order[0]):
            store.write(Start(player, session, from_ms(at), country))
        latest = store.presence(player).latest
        assert latest == (second, "SE", now - 5000, None)


def test_one_session_with_two_countries_at_once_has_one_winner_everywhere(
    store: RunningStore,
) -> None:
    at = from_ms(now_ms() - 1000)
    for countries in (("FI", "SE"), ("SE", "FI"), ("SE", "FI", "SE"), ("FI", "SE", "FI")):
        player, session = uuid4(), uuid4()
        for country in countries:
            store.write(Start(player, session, at, country))
        latest = store.presence(player).latest
        assert latest is not None
        assert latest.country == "SE"
        assert latest == store.session(player, session)


def test_a_tie_of_two_sessions_has_one_of_both_as_the_latest(store: RunningStore) -> None:
    player, one, other, at = uuid4(), uuid4(), uuid4(), from_ms(now_ms() - 1000)
    for session in (one, other, one):
        store.write(Start(player, session, at, "FI"))
    latest = store.presence(player).latest
    assert latest is not None
    assert latest.session_id in (one, other)


@pytest.mark.parametrize("others", [0, 9, 10, 11, 300])
def test_the_latest_session_is_open_until_its_end_however_many_ends_there_are(
    store: RunningStore, others: int
) -> None:
    player, session = uuid4(), uuid4()
    older = [
        event
        for n in range(others)
        for one in [uuid4()]
        for event in (
            Start(player, one, from_ms(now_ms() - 7_200_000 - n), "SE"),
            End(player, one, from_ms(now_ms() - 60_000 - n)),
        )
    ]
    store.write_all([older[n : n + 10] for n in range(0, len(older), 10)])
    store.write(Start(player, session, minutes_ago(60), "FI"))
    online, latest = store.presence(player)
    assert latest is not None
    assert (online, latest.session_id, latest.status) == (True, session, "open")
    store.write(End(player, session, minutes_ago(300 * 24 * 60)))  # by a clock that is far behind
    online, latest = store.presence(player)
    assert latest is not None
    assert (online, latest.session_id, latest.status) == (False, session, "complete")


def test_a_player_is_online_for_a_day_from_the_start(store: RunningStore) -> None:
    for age, online in ((-60_000, True), (DAY_MS - 60_000, True), (DAY_MS + 1000, False)):
        player = uuid4()
        store.write(Start(player, uuid4(), from_ms(now_ms() - age), "FI"))
        found = store.presence(player)
        assert found.online == online
        assert found.latest is not None
        assert found.latest.status == "open"


def test_only_the_setting_says_how_long_a_player_is_online(
    cassandra: Cluster, keyspace: str
) -> None:
    player = uuid4()
    with RunningStore(settings_of(cassandra, keyspace, ONLINE_FOR="30m")) as other:
        other.connected()
        other.write(Start(player, uuid4(), minutes_ago(29), "FI"))
        assert other.presence(player).online
        player = uuid4()
        other.write(Start(player, uuid4(), minutes_ago(31), "FI"))
        assert not other.presence(player).online


def test_without_a_start_nobody_is_online(store: RunningStore) -> None:
    player = uuid4()
    store.write(End(player, uuid4(), minutes_ago(1)))
    assert store.presence(player) == (False, None)
    assert store.presence(uuid4()) == (False, None)


def test_the_latest_session_is_gone_when_the_retention_has_passed(store: RunningStore) -> None:
    player, session, due = uuid4(), uuid4(), now_ms() + 10_000
    store.write(Start(player, session, from_ms(due - YEAR_MS), "FI"))
    store.write(End(player, session, minutes_ago(1)))
    assert store.presence(player).latest is not None
    wait_for(lambda: store.presence(player).latest is None, what="the start is gone")
    assert now_ms() >= due


def test_a_player_whose_starts_the_old_schema_wrote_has_no_latest_session(
    store: RunningStore, keyspace: str, superuser: Any
) -> None:
    player, session = uuid4(), uuid4()
    superuser.execute(
        f"INSERT INTO {keyspace}.session_starts (player_id, session_id, started_at, country)"
        " VALUES (%s, %s, %s, 'FI')",
        (player, session, minutes_ago(1)),
    )
    assert store.presence(player) == (False, None)
    state = store.session(player, session)
    assert state is not None
    assert state.status == "open"
    store.write(Start(player, session, from_ms(now_ms()), "FI"))
    assert store.presence(player).online


@pytest.mark.parametrize("name", ["presence", "session"])
def test_a_lookup_counts_as_a_read_and_a_surplus_one_is_refused(
    cassandra: Cluster, keyspace: str, name: str
) -> None:
    with RunningStore(settings_of(cassandra, keyspace, READS_IN_FLIGHT="1")) as other:
        other.connected()

        def lookup() -> Coroutine[Any, Any, object]:
            if name == "presence":
                return other.store.presence(uuid4())
            return other.store.session(uuid4(), uuid4())

        async def two() -> tuple[object, object]:
            return await asyncio.gather(lookup(), lookup(), return_exceptions=True)

        for _ in range(3):  # the limit is free again afterwards
            found, refused = other.call(two())
            assert found in (None, (False, None))
            assert isinstance(refused, StoreError)
            assert refused.reason is TOO_MANY_READS
