"""TLS to a real Cassandra: names and authorities are checked, and files are read again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLSocket
from uuid import uuid4

import pytest
import trustme

from dev.certificates import client_encryption, give_client_certificate
from dev.cluster import Cluster
from dev.game_events import now_ms
from dev.service import wait_for
from player_sessions.rules.events import End, Event, Start, from_ms
from player_sessions.settings import Settings
from player_sessions.store.loop_connection import LoopConnection
from tests.store.conftest import RunningStore
from tests.support import apply_schema, settings_of

KEYSPACE = "secured"
NAME = "cassandra.games.internal"


@dataclass
class Secured:
    """A node whose certificate has only NAME, and the files that its clients need."""

    cluster: Cluster
    folder: Path
    authority: trustme.CA

    def settings(self, **changes: str) -> Settings:
        files = {"CA": "ca.pem", "CERT": "client.pem", "KEY": "client.key"}
        tls = {f"CASSANDRA_TLS_{k}_FILE": str(self.folder / v) for k, v in files.items()}
        name = {"CASSANDRA_TLS_SERVER_NAME": NAME}
        return settings_of(
            self.cluster, KEYSPACE, **{"CASSANDRA_TLS": "on", **tls, **name, **changes}
        )

    def give_client_certificate(self, authority: trustme.CA) -> None:
        give_client_certificate(self.folder, authority)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    options = client_encryption(folder, authority, NAME)
    with Cluster(folder / "node", yaml={"client_encryption_options": options}) as cluster:
        apply_schema(cluster, KEYSPACE)
        made = Secured(cluster, folder, authority)
        made.give_client_certificate(authority)
        yield made


def refused(settings: Settings) -> str:
    """Return why the store does not connect."""
    with RunningStore(settings) as running:
        wait_for(lambda: running.store.reason != "connecting to Cassandra", what="an answer")
        assert running.store.reason is not None, "the store connected"
        return running.store.reason


def test_the_expected_name_and_a_client_certificate_let_it_in(secured: Secured) -> None:
    with RunningStore(secured.settings()) as running:
        running.connected()


def test_writes_and_reads_go_over_tls_on_the_loops_own_connection(secured: Secured) -> None:
    player, now = uuid4(), now_ms()
    batches: list[list[Event]] = [
        [
            Start(player, session, from_ms(now - 2000 - number), "FI"),
            End(player, session, from_ms(now - 1000 - number)),
        ]
        for number, session in enumerate(uuid4() for _ in range(300))
    ]
    with RunningStore(secured.settings()) as running:
        running.connected().write_all(batches)
        read = [session for page in running.pages(player, 20) for session in page.sessions]
        opened = running.store._connector.connected
        assert opened is not None
        pools = opened.client.session.get_pools()
        connections = [each for pool in pools for each in pool.get_connections()]
        assert [isinstance(each, LoopConnection) for each in connections] == [True]
        assert [isinstance(each._socket, SSLSocket) for each in connections] == [True]
    assert {session.session_id for session in read} == {
        batch[0].session_id.bytes for batch in batches
    }


def test_a_name_that_the_certificate_does_not_carry_is_refused(secured: Secured) -> None:
    assert refused(secured.settings(CASSANDRA_TLS_SERVER_NAME=""))
    assert refused(secured.settings(CASSANDRA_TLS_SERVER_NAME="other.internal"))


def test_the_name_check_can_be_switched_off_and_the_log_says_so(
    secured: Secured, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = secured.settings(CASSANDRA_TLS_SERVER_NAME="", CASSANDRA_TLS_CHECK_NAME="off")
    with RunningStore(settings) as running:
        running.connected()
    assert "name in Cassandra's certificate is not checked" in "".join(capsys.readouterr())


def test_another_authority_is_refused(secured: Secured, tmp_path: Path) -> None:
    other = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    assert refused(secured.settings(CASSANDRA_TLS_CA_FILE=str(other)))


def test_a_client_without_a_certificate_is_refused(secured: Secured) -> None:
    assert refused(secured.settings(CASSANDRA_TLS_CERT_FILE="", CASSANDRA_TLS_KEY_FILE=""))


def test_a_renewed_certificate_is_taken_without_a_restart(secured: Secured) -> None:
    secured.give_client_certificate(trustme.CA())  # the node does not trust this CA
    with RunningStore(secured.settings()) as running:
        wait_for(lambda: running.store.reason != "connecting to Cassandra", what="a refusal")
        assert running.store.reason is not None
        secured.give_client_certificate(secured.authority)
        running.connected()


def test_a_file_that_is_no_certificate_is_an_error_at_once(
    secured: Secured, tmp_path: Path
) -> None:
    bad = tmp_path / "ca.pem"
    bad.write_text("not a certificate")
    assert "certificate" in refused(secured.settings(CASSANDRA_TLS_CA_FILE=str(bad)))
