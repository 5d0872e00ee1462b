"""Compare starts per country with an oracle, while two services write, count and are restarted."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from dev import cql
from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import (
    Server,
    new_keyspace,
    run_schema_apply,
    superuser_variables,
    variables,
    wait_for,
)

PATH = "/v1/countries/starts"
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
# From a clock ahead to the oldest hour, and beyond: what is older than 168 hours is not counted.
# Equal ages make conflicting starts in one hour likely.
AGES = (-4 * MINUTE_MS, 0, 0, 1, 5 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS, 24 * HOUR_MS, 166 * HOUR_MS,
        169 * HOUR_MS, 400 * 24 * HOUR_MS)  # fmt: skip

Hours = dict[int, dict[str, int]]


class Start(NamedTuple):
    """The start of a session, as the oracle needs it."""

    player: UUID
    session: UUID
    at: int
    country: str

    @property
    def row(self) -> dict[str, Any]:
        return start(self.player, self.session, self.at, self.country)


class Oracle:
    """Of each hour and country the sessions that began: those surely stored, and those perhaps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: dict[tuple[int, str], set[tuple[UUID, UUID]]] = defaultdict(set)
        self._stored: dict[tuple[int, str], dict[tuple[UUID, UUID], int]] = defaultdict(dict)

    def sending(self, starts: Iterable[Start]) -> None:
        with self._lock:
            for each in starts:
                self._sent[self._place(each)].add((each.player, each.session))

    def acknowledged(self, starts: Iterable[Start]) -> None:
        with self._lock:
            for each in starts:
                known = self._stored[self._place(each)]
                known.setdefault((each.player, each.session), now_ms())

    @staticmethod
    def _place(each: Start) -> tuple[int, str]:
        return each.at - each.at % HOUR_MS, each.country

    def check(self, document: dict[str, Any], asked_at: int, *, exact: bool = False) -> None:
        """Check an answer with `by=hour`: what was stored before `as_of` is in it, all else may."""
        hours = by_hour(document)
        as_of = asked_at if exact else ms(document["as_of"])
        for (hour, country), sessions in self._sent.items():
            stored = self._stored[hour, country].values()
            if hour in hours:
                least = sum(acknowledged < as_of for acknowledged in stored)
                assert least <= hours[hour].get(country, 0) <= len(sessions), (hour, country)
        shown = {(hour, country) for hour, found in hours.items() for country in found}
        assert shown <= set(self._sent)


def ms(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def by_hour(document: dict[str, Any]) -> Hours:
    """Return the counts of each hour; check that the document agrees with itself."""
    hours = {ms(each["hour"]): counts(each) for each in document["hours"]}
    assert list(hours) == list(range(ms(document["from"]), ms(document["to"]), HOUR_MS))
    sums: dict[str, int] = defaultdict(int)
    for found in hours.values():
        for country, number in found.items():
            sums[country] += number
    assert counts(document) == sums
    assert ms(document["as_of"]) <= now_ms()
    return hours


def counts(document: dict[str, Any]) -> dict[str, int]:
    listed = [(each["country"], each["starts"]) for each in document["countries"]]
    assert listed == sorted(listed, key=lambda each: (-each[1], each[0]))
    assert sum(number for _, number in listed) == document["total"]
    return dict(listed)


def ask(service: Server, hours: int = 168) -> dict[str, Any]:
    """Ask until everything is counted."""

    def answered() -> dict[str, Any] | None:
        answer = service.http.get(PATH, params={"hours": hours, "by": "hour"})
        if answer.status_code == 503:
            assert answer.json()["type"].endswith(":still-counting")
            time.sleep(float(answer.headers["Retry-After"]))
            return None
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    found: dict[str, Any] = wait_for(answered, seconds=120, what="everything is counted")
    return found


class World:
    """Two services on one keyspace, and what was sent to them."""

    def __init__(self, cluster: Cluster, keyspace: str, chance: random.Random) -> None:
        self.environ = variables(cluster, keyspace)
        self._superuser = superuser_variables(cluster, keyspace)
        self._keyspace = keyspace
        self._chance = chance
        self.players = [UUID(int=chance.getrandbits(128)) for _ in range(3)]
        self.sessions = [UUID(int=chance.getrandbits(128)) for _ in range(12)]
        self.sent: list[Start] = []

    def forget_counts(self) -> None:
        with cql.connected(self._superuser) as session:
            session.execute(f"TRUNCATE {self._keyspace}.start_counts")

    def some(self, number: int) -> list[Start]:
        """Return new starts, some of sessions that began already, and some sent before."""
        chance, now = self._chance, now_ms()
        made = [
            Start(
                chance.choice(self.players),
                chance.choice(self.sessions),
                now - chance.choice(AGES),
                chance.choice(("FI", "SE", "UK", "ZZ")),
            )
            for _ in range(number)
        ]
        again = chance.choices(self.sent, k=number // 2) if self.sent else []
        self.sent += made
        mixed = made + again
        chance.shuffle(mixed)
        return mixed


def send(service: Server, oracle: Oracle, starts: list[Start]) -> None:
    """Send starts in batches of up to 9, each with an end of the first session."""
    for first in range(0, len(starts), 9):
        batch = starts[first : first + 9]
        oracle.sending(batch)
        ended = end(batch[0].player, batch[0].session, batch[0].at)
        answer = service.post(*(each.row for each in batch), ended)
        assert answer.status_code == 200, answer.text
        oracle.acknowledged(batch)


def at_once(*calls: Any) -> None:
    """Call functions on threads of their own; fail when one fails."""
    errors: list[BaseException] = []

    def run(call: Any) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.fixture(scope="module")
def country_keyspace(cassandra: Cluster) -> str:
    name = new_keyspace()
    run_schema_apply(cassandra, name)
    return name


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    """Share the oracle, as the tests share the keyspace."""
    return Oracle()


@pytest.fixture
def services() -> Iterator[ExitStack]:
    with ExitStack() as running:
        yield running


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_history_is_counted_as_if_it_had_come_once_and_in_order(
    cassandra: Cluster, country_keyspace: str, oracle: Oracle, services: ExitStack, seed: int
) -> None:
    world = World(cassandra, country_keyspace, random.Random(seed))
    world.forget_counts()
    one, other = (services.enter_context(Server(world.environ)) for _ in range(2))
    one.ready()
    other.ready()

    def exact(service: Server) -> None:
        asked_at = now_ms()
        oracle.check(ask(service), asked_at, exact=True)

    first, second = world.some(60), world.some(60)
    at_once(lambda: send(one, oracle, first), lambda: send(other, oracle, second))
    at_once(lambda: exact(one), lambda: exact(other))  # both count at the same time

    for step in range(30):  # starts arrive late, and kept counts are used
        service = (one, other)[step % 2]
        send(service, oracle, world.some(8))
        asked_at = now_ms()
        oracle.check(ask(service, (1, 24, 168)[step % 3]), asked_at)

    one.stop()
    world.forget_counts()
    restarted = services.enter_context(Server(world.environ)).ready()
    exact(restarted)


def test_services_with_different_numbers_of_shards_count_everything(
    cassandra: Cluster, services: ExitStack
) -> None:
    keyspace, oracle = new_keyspace(), Oracle()
    run_schema_apply(cassandra, keyspace)
    world = World(cassandra, keyspace, random.Random(7))
    starts = [each._replace(session=UUID(int=n)) for n, each in enumerate(world.some(120))]
    for shards, some in (("1", starts[:60]), ("16", starts[20:90]), ("256", starts[10:])):
        environ = variables(cassandra, keyspace, COUNTRY_SHARDS=shards)
        send(services.enter_context(Server(environ)).ready(), oracle, some)
    last = services.enter_context(Server(world.environ)).ready()
    asked_at = now_ms()
    oracle.check(ask(last), asked_at, exact=True)
