"""The audit finds each kind of difference, in a double of the service that makes it on purpose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from dev.game_events import now_ms
from loadtest import dataset, replay_file, target
from loadtest.audit.compare import Listed, Presence, State, compare, compare_latest
from loadtest.audit.expected import Expected, Told
from loadtest.journal import ACKNOWLEDGED, UNKNOWN, Header, Journal
from loadtest.play import Mix, Model, Play
from tests.loadtest.commands import audit
from tests.loadtest.double import Double, running

MIX = Mix(players=40, session_seconds=0.2, twice=0.1, swapped=0.1, late=0.1)


@pytest.fixture
def double() -> Iterator[Double]:
    with running(Double()) as made:
        yield made


def played(double: Double, path: Path, mix: Mix = MIX, *, ended: bool = True) -> Path:
    """Send batches to the double and return their journal."""
    begun = now_ms() - 60_000
    play = Play(Model("seed", mix), begun)
    journal = Journal(path, Header(seed="seed", origin_ms=play.origin_ms, mix=mix))
    with httpx.Client(base_url=double.url) as http:
        for number in range(120):
            batch = play.next(begun + number * 20)
            stored = http.post("/v1/events", content=batch.body).status_code == 200
            journal.add(ACKNOWLEDGED if stored else UNKNOWN, batch.tokens)
    if ended:
        journal.close()
    return path


def test_a_service_that_keeps_everything_is_proven(double: Double, tmp_path: Path) -> None:
    double.refuse_every = 7
    done = audit(double.url, played(double, tmp_path / "a.journal"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "missing 0, duplicate 0, disordered 0, altered 0, unsent 0\nproven" in done.stdout
    assert re.search(r"^[45] players asked for their latest session", done.stdout, re.MULTILINE)
    # Starts whose end was not sent yet are proven too, because the audit sends the end.
    assert " 0 were made complete" not in done.stdout


def test_players_with_ids_that_are_not_uuids_are_proven_too(double: Double, tmp_path: Path) -> None:
    named = msgspec.structs.replace(MIX, named=0.5)
    path = played(double, tmp_path / "a.journal", named)
    assert {len(player) == 32 for player in double.players} == {True, False}
    done = audit(double.url, path)
    assert (done.returncode, done.stderr) == (0, "")
    for player in [player for player in double.players if len(player) != 32]:
        del double.players[player]
    done = audit(double.url, path)
    assert done.returncode == 1
    assert "missing: player game/" in done.stdout


def test_a_slash_at_the_end_of_the_services_url_changes_nothing(
    double: Double, tmp_path: Path
) -> None:
    done = audit(f"{double.url}/", played(double, tmp_path / "a.journal"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("https://games.example//", "https://games.example"),
        ("http://games.example/stage/", "http://games.example/stage"),
    ],
)
def test_paths_are_appended_to_a_url_without_a_slash_at_its_end(host: str, url: str) -> None:
    assert target.url(host) == url


@pytest.mark.parametrize("host", ["", "127.0.0.1:8080", "http://", "ftp://games.example"])
def test_a_host_that_is_no_url_of_http_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="--host http://"):
        target.url(host)


@pytest.mark.parametrize("number", [0, 333])
def test_one_dropped_write_is_found(double: Double, tmp_path: Path, number: int) -> None:
    double.drop_event = number
    once = Mix(players=40, session_seconds=0.2, twice=0)  # an event sent twice would be there
    done = audit(double.url, played(double, tmp_path / "a.journal", once))
    assert done.returncode == 1
    assert "missing 1, duplicate 0, disordered 0, altered 0, unsent 0\nmissing: player " in (
        done.stdout
    )


@pytest.mark.parametrize("kind", ["duplicate", "disordered", "altered", "unsent"])
def test_every_other_fault_is_named(double: Double, tmp_path: Path, kind: str) -> None:
    journal = played(double, tmp_path / "a.journal")
    double.listing = kind
    done = audit(double.url, journal)
    assert done.returncode == 1
    assert f"\n{kind}: player " in done.stdout
    assert f"{kind} 0" not in done.stdout


@pytest.mark.parametrize(
    ("alone", "kind", "said"),
    [
        ("missing", "missing", "asked for alone: start and end were acknowledged"),
        ("altered", "altered", "asked for alone: started "),
        ("none", "missing", "the latest session of player "),
        ("older", "missing", "the latest session of player "),
        ("online", "altered", "has an end, but the player is online"),
    ],
)
def test_a_wrong_answer_about_presence_or_one_session_is_named(
    double: Double, tmp_path: Path, alone: str, kind: str, said: str
) -> None:
    journal = played(double, tmp_path / "a.journal")
    double.alone = alone
    done = audit(double.url, journal)
    assert done.returncode == 1
    assert f"\n{kind}: " in done.stdout
    assert said in done.stdout
    everybody = audit(double.url, journal, "--sample", "1")
    assert f"\n{len(double.players)} players asked for their latest" in everybody.stdout
    nobody = audit(double.url, journal, "--sample", "0")
    assert (nobody.returncode, nobody.stdout.count("\n0 players asked")) == (0, 1)


def test_a_journal_cut_off_by_kill_9_accuses_nobody(double: Double, tmp_path: Path) -> None:
    path = played(double, tmp_path / "a.journal", ended=False)
    *lines, _ = path.read_text().splitlines()
    path.write_text("\n".join(lines) + "\n+ 1")  # the last batch was stored and not journaled
    done = audit(double.url, path)
    assert done.returncode == 0, done.stdout
    assert "not ended in order: a.journal" in done.stdout


def test_a_replayed_file_is_audited_against_itself(double: Double, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl.gz"
    options = dataset.parser().parse_args(["--sessions", "50", "--players", "5"])
    with dataset.opened(str(file)) as output:
        output.writelines(dataset.lines(dataset.events(options), 1))
    journal = Journal(
        tmp_path / "a.journal",
        Header(seed="x", origin_ms=0, file=str(file), fingerprint=replay_file.fingerprint(file)),
    )
    source = replay_file.Replay(file, 0, 0, 1)
    while batch := source.next(0):
        httpx.post(f"{double.url}/v1/events", content=batch.body)
        journal.add(ACKNOWLEDGED, batch.tokens)
    journal.close()
    assert audit(double.url, tmp_path).returncode == 0
    double.players.popitem()
    assert audit(double.url, tmp_path).returncode == 1
    file.write_bytes(file.read_bytes() + b"\n")
    changed = audit(double.url, tmp_path)
    assert changed.returncode == 2
    assert "no longer the file that was replayed" in changed.stderr


@pytest.mark.parametrize("text", ["", "{}\n", "hello\n"])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.journal"
    path.write_text(text)
    done = audit("http://127.0.0.1:9", path)
    assert done.returncode == 2
    assert "is not a journal" in done.stderr


def listed(session: UUID, began: int, ended: int, country: str = "FI") -> Listed:
    document = {
        "session_id": str(session),
        "country": country,
        "started_at": f"1970-01-01T00:00:{began:02}Z",
        "ended_at": f"1970-01-01T00:00:{ended:02}Z",
        "duration_seconds": float(max(0, ended - began)),
    }
    return msgspec.convert(document, Listed)


@pytest.mark.parametrize(
    ("ended", "kinds"),
    [(20, []), (30, []), (10, ["altered"]), (25, ["altered"])],
    ids=["the newest acknowledged", "a newer uncertain one", "an older one", "one never sent"],
)
def test_the_newest_of_several_ends_counts_or_a_newer_uncertain_one(
    ended: int, kinds: list[str]
) -> None:
    session = uuid4()
    ends = [Told(10_000, "", True), Told(20_000, "", True), Told(30_000, "", False)]
    expected = {session: Expected([Told(1000, "FI", True)], ends)}
    found = compare(uuid4(), expected, [listed(session, 1, ended)])
    assert [each.kind for each in found] == kinds


def test_an_uncertain_event_may_be_stored_or_not() -> None:
    session = uuid4()
    expected = {session: Expected([Told(1000, "FI", True)], [Told(2000, "", False)])}
    assert list(compare(uuid4(), expected, [])) == []
    assert list(compare(uuid4(), expected, [listed(session, 1, 2)])) == []


FIRST, SECOND, THIRD = UUID(int=1), UUID(int=2), UUID(int=3)


@pytest.mark.parametrize(
    ("latest", "began", "kinds"),
    [
        (SECOND, 20, []),
        (THIRD, 30, []),  # its start is not acknowledged, but may be stored
        (FIRST, 10, ["missing"]),
        (None, 0, ["missing"]),
        (SECOND, 25, ["altered"]),
        (uuid4(), 40, ["unsent"]),
    ],
)
def test_the_latest_session_has_the_newest_start_or_a_newer_uncertain_one(
    latest: UUID | None, began: int, kinds: list[str]
) -> None:
    expected = {
        FIRST: Expected([Told(10_000, "FI", True)], [Told(50_000, "", True)]),
        SECOND: Expected([Told(20_000, "FI", True)], []),
        THIRD: Expected([Told(30_000, "FI", False)], []),
    }
    started = datetime.fromtimestamp(began, UTC)
    state = State(latest, "open", "FI", started, None, None) if latest else None
    found = compare_latest(uuid4(), expected, Presence(online=True, latest_session=state))
    assert [each.kind for each in found] == kinds


def test_where_no_start_is_certain_any_latest_session_will_do() -> None:
    expected = {FIRST: Expected([Told(10_000, "FI", False)], [Told(50_000, "", True)])}
    nobody = Presence(online=False, latest_session=None)
    assert list(compare_latest(uuid4(), expected, nobody)) == []
