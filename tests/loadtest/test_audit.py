"""The audit finds each kind of difference, in a double of the service that has been told to err."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from loadtest import dataset, replay
from loadtest.audit.compare import Listed, compare
from loadtest.audit.expected import Expected, Told
from loadtest.journal import ACKNOWLEDGED, UNKNOWN, Header, Journal
from loadtest.play import Mix, Model, Play
from tests.loadtest.commands import audit
from tests.loadtest.double import Double, running
from tests.support import now_ms

MIX = Mix(players=40, session_seconds=0.2, twice=0.1, swapped=0.1, late=0.1)


@pytest.fixture
def double() -> Iterator[Double]:
    with running(Double()) as made:
        yield made


def played(double: Double, path: Path, mix: Mix = MIX, *, ended: bool = True) -> Path:
    """A journal of batches sent to the double."""
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
    # Starts whose end was not sent yet are proven too: the audit sends it.
    assert " 0 were made complete" not in done.stdout


@pytest.mark.parametrize("number", [0, 333])
def test_one_dropped_write_is_found(double: Double, tmp_path: Path, number: int) -> None:
    double.drop_event = number
    once = Mix(players=40, session_seconds=0.2, twice=0)  # sent again it would be there
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
        Header(seed="x", origin_ms=0, file=str(file), fingerprint=replay.fingerprint(file)),
    )
    source = replay.Replay(file, 0, 0, 1)
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
def test_what_is_no_journal_is_refused(tmp_path: Path, text: str) -> None:
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
def test_of_several_ends_the_newest_counts_and_newer_uncertain_ones_may(
    ended: int, kinds: list[str]
) -> None:
    session = uuid4()
    ends = [Told(10_000, "", True), Told(20_000, "", True), Told(30_000, "", False)]
    expected = {session: Expected([Told(1000, "FI", True)], ends)}
    found = compare(uuid4(), expected, [listed(session, 1, ended)])
    assert [each.kind for each in found] == kinds


def test_what_is_uncertain_may_be_there_or_not() -> None:
    session = uuid4()
    expected = {session: Expected([Told(1000, "FI", True)], [Told(2000, "", False)])}
    assert list(compare(uuid4(), expected, [])) == []
    assert list(compare(uuid4(), expected, [listed(session, 1, 2)])) == []
