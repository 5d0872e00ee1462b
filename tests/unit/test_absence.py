"""What is said about a Cassandra that is not there: no error is without words."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cassandra
import pytest
from cassandra import (
    AuthenticationFailed,
    InvalidRequest,
    OperationTimedOut,
    Unauthorized,
    UnresolvableContactPoints,
)
from cassandra import connection as driver_connection
from cassandra import protocol as driver_protocol
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException, ConnectionShutdown

from player_sessions.settings import Settings, load
from player_sessions.store.cluster import NotConnected, connect
from player_sessions.store.errors import describe
from player_sessions.store.schema import apply as schema_apply

CLASSES = {
    found
    for module in (cassandra, driver_connection, driver_protocol)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, Exception)
}


def made(kind: type[Exception]) -> Iterator[Exception]:
    """Make errors of a class with as little text as its constructor takes."""
    few: tuple[tuple[Any, ...], ...] = (
        (),
        ("",),
        ({},),
        (None,),
        ("", None),
        ("", {}),
        (0, "", None),
    )
    for arguments in few:
        try:
            yield kind(*arguments)
        except Exception:
            continue


BARE = [error for kind in sorted(CLASSES, key=str) for error in made(kind)]


def test_no_error_of_the_driver_is_without_words() -> None:
    assert len({type(error) for error in BARE}) > 50
    said = {describe(error) for error in BARE}
    assert [text for text in said if sum(map(str.isalpha, text)) < 4] == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UnresolvableContactPoints({}), "no contact point has an address"),
        (OperationTimedOut(), "no answer in time"),
        (OperationTimedOut({"a": "Client request timeout"}), "Client request timeout"),
        (NoHostAvailable("Unable to connect to any servers", ["a"]), "Unable to connect"),
        (NoHostAvailable("x", {"a": ConnectionShutdown("")}), "ConnectionShutdown"),
        (
            NoHostAvailable("x", {"a": OSError(111, "no"), "b": OSError(111, "no")}),
            "[Errno 111] no",
        ),
        (NoHostAvailable("", {}), "no node could be asked"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("{}"), "ValueError"),
        (InvalidRequest("no such table"), "no such table"),
    ],
)
def test_an_error_is_described_by_what_the_driver_knows(error: Exception, words: str) -> None:
    assert describe(error).startswith(words)


def at(*points: str) -> Settings:
    """Return settings with these contact points and a port at which nobody listens."""
    names = ",".join(points)
    return load(
        {
            "PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS": names,
            "PLAYER_SESSIONS_CASSANDRA_PORT": "1",
        }
    )


def test_contact_points_without_an_address_are_named() -> None:
    with pytest.raises(NotConnected) as raised:
        connect(at("one.invalid", "two.invalid"))
    said = str(raised.value)
    assert said.startswith("no connection to Cassandra at one.invalid,two.invalid, port 1: ")
    assert "; one.invalid: " in said
    assert "; two.invalid: " in said


def test_a_bad_contact_point_beside_an_absent_node_is_named_too() -> None:
    with pytest.raises(NotConnected, match=r"Connection refused; one\.invalid: "):
        connect(at("127.0.0.1", "one.invalid"))


def patience(seconds: float) -> schema_apply.Patience:
    return schema_apply.Patience(answer=seconds, login=0)


def test_schema_apply_waits_for_a_contact_point_to_get_an_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A headless Service has no address until its first pod is ready."""
    resolve, asked = socket.getaddrinfo, []
    said: list[str] = []

    def late(host: str, *arguments: Any, **options: Any) -> Any:
        asked.append(host)
        if len(asked) < 4:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", late)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with (
        pytest.raises(schema_apply.SchemaError, match=r"at games\.test, port 1: .*refused"),
        schema_apply.session(at("games.test"), patience(1), said.append),
    ):
        pass
    assert "no contact point has an address; games.test: " in said[0]
    assert said[0].endswith("; next try in 0.5 s")


class Work:
    """Work of `schema apply` that fails with each of these errors, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def __call__(self, _: Settings, __: Any) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return 0


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `schema apply` connect to nothing, at once."""

    @contextmanager
    def session(*_: Any) -> Iterator[None]:
        yield None

    monkeypatch.setattr(schema_apply, "session", session)
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.mark.usefixtures("connected")
def test_schema_apply_begins_again_when_cassandra_goes_away_meanwhile() -> None:
    said: list[str] = []
    settings = at("games.test")
    absent = NotConnected(settings, "x", login_refused=False)
    work = Work(
        NoHostAvailable("", {}),
        ConnectionShutdown(""),
        OperationTimedOut(),
        UnresolvableContactPoints({}),
        absent,
    )
    assert schema_apply.run(settings, patience(60), said.append, work) == 0
    assert len(said) == 5
    assert all("games.test, port 1" in line and "beginning again" in line for line in said)


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (InvalidRequest("no"), 60),
        (Unauthorized("no"), 60),
        (NoHostAvailable("", {}), 0),
    ],
)
def test_schema_apply_stops_at_a_refusal_and_when_its_patience_ends(
    error: Exception, seconds: float
) -> None:
    with pytest.raises(schema_apply.SchemaError, match=r"^Cassandra at games\.test, port 1 "):
        schema_apply.run(at("games.test"), patience(seconds), lambda _: None, Work(error, error))


@pytest.mark.parametrize(
    "error", [AuthenticationFailed(), ConnectionException("closed"), OperationTimedOut()]
)
def test_what_a_node_answers_at_the_start_is_in_the_message(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: Any) -> None:
        raise NoHostAvailable("Unable to connect to any servers", {"node": error})

    monkeypatch.setattr("cassandra.cluster.Cluster.connect", refuse)
    with pytest.raises(NotConnected) as raised:
        connect(at("127.0.0.1"))
    assert describe(error) in str(raised.value)
    assert raised.value.login_refused == isinstance(error, AuthenticationFailed)
