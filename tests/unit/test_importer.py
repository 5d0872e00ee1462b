"""The import's pure parts (lines, rules, state, summary), and the generator of test data for it."""

from __future__ import annotations

import bz2
import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from dev.game_events import end, now_ms, start
from loadtest import dataset
from player_sessions.rules.events import MAX_MS, BatchRefused, from_ms
from player_sessions.rules.players import only_uuid, player_uuid
from player_sessions.transfer.importer import Totals
from player_sessions.transfer.input import MAX_LINE, events_of, lines_of
from player_sessions.transfer.opening import TransferStopped
from player_sessions.transfer.progress import Progress
from player_sessions.transfer.rebase import newest
from player_sessions.transfer.state import State, fingerprint, load_state

NOW = now_ms()
YEAR_MS = 365 * 86_400_000
SOME = [start(uuid4(), uuid4(), NOW - 1000), end(uuid4(), uuid4(), NOW)]


def line(document: Any) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize("document", [SOME, {"events": SOME}, {"rows": SOME}])
def test_a_line_may_be_a_batch(document: Any) -> None:
    assert [event.kind for event in events_of(line(document), MAX_MS, 0)] == ["start", "end"]


@pytest.mark.parametrize("value", [rb'"gg \ud83d"', b"1e400", b'"\xff"'])
@pytest.mark.parametrize("document", [SOME[0], SOME, {"events": SOME}, {"rows": SOME}])
def test_an_ignored_field_never_refuses_a_line(document: Any, value: bytes) -> None:
    text = line(document).replace(b'"player_id"', b'"nick": ' + value + b', "player_id"')
    assert events_of(text, MAX_MS, 0) == events_of(line(document), MAX_MS, 0)


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: [e], lambda e: {"rows": [e]}])
def test_a_line_may_have_any_player_id_unless_only_uuids_are_ids(
    wrap: Callable[[Any], Any],
) -> None:
    text = line(wrap({**SOME[0], "player_id": "Jörg/1"}))
    (event,) = events_of(text, MAX_MS, 0)
    assert event == msgspec.structs.replace(
        events_of(line(SOME[0]), MAX_MS, 0)[0], player_id=player_uuid("Jörg/1")
    )
    with pytest.raises(BatchRefused) as refused:
        events_of(text, MAX_MS, 0, only_uuid)
    assert refused.value.reason.name == "invalid-player-id"
    with pytest.raises(BatchRefused) as refused:
        events_of(line(wrap({**SOME[0], "player_id": "null"})), MAX_MS, 0)
    assert refused.value.reason.name == "placeholder-player-id"


def test_a_line_may_have_a_leap_second() -> None:
    (event,) = events_of(line({**SOME[0], "ts": "2016-12-31T23:59:60Z"}), MAX_MS, 0)
    assert from_ms(event.at_ms).isoformat() == "2016-12-31T23:59:59.999000+00:00"


def test_a_line_may_be_one_event() -> None:
    (event,) = events_of(line(SOME[0]), MAX_MS, 0)
    assert event.at_ms == NOW - 1000


def test_rebasing_shifts_the_time() -> None:
    (event,) = events_of(line(SOME[1]), MAX_MS, 12_345)
    assert event.at_ms == NOW + 12_345


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"nope", "invalid-json"),
        (b"\xff", "invalid-json"),
        (b"[" * 100_000, "invalid-json"),
        (b"7", "invalid-batch"),
        (b"[]", "invalid-batch"),
        (b'{"rows":[]}', "invalid-batch"),
        (b'{"rows":7}', "invalid-batch"),
        (b"{}", "missing-field"),
        (line([*SOME, 7]), "not-an-object"),
        (line({**SOME[0], "country": "fi"}), "invalid-country"),
        (line({**SOME[0], "ts": 7}), "invalid-timestamp"),
    ],
)
def test_a_bad_line_is_refused_for_its_reason(text: bytes, reason: str) -> None:
    with pytest.raises(BatchRefused) as refused:
        events_of(text, MAX_MS, 0)
    reasons = [e.reason for e in refused.value.errors] or [refused.value.reason.name]
    assert reasons[0] == reason


def test_what_lies_in_the_future_is_refused() -> None:
    with pytest.raises(BatchRefused) as refused:
        events_of(line(SOME), NOW - 1, 0)
    assert [(e.index, e.reason) for e in refused.value.errors] == [(1, "timestamp-in-future")]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.bz2"])
def test_lines_are_numbered_and_blank_ones_skipped(tmp_path: Path, name: str) -> None:
    text = b"one\n\n  \nfour\nfive"
    packed = {".gz": gzip.compress(text), ".bz2": bz2.compress(text)}
    (tmp_path / name).write_bytes(packed.get(Path(name).suffix, text))
    found = [(found.number, found.text) for found in lines_of(str(tmp_path / name))]
    assert found == [(1, b"one\n"), (4, b"four\n"), (5, b"five")]
    assert [found.number for found in lines_of(str(tmp_path / name), after=4)] == [5]


def test_an_over_long_line_is_cut_and_the_next_one_whole(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"[" + b" " * (3 * MAX_LINE) + b"]\nnext\n")
    first, second = lines_of(str(file))
    assert (first.number, len(first.text)) == (1, MAX_LINE)
    assert (second.number, second.text) == (2, b"next\n")


@pytest.mark.parametrize("name", ["missing.jsonl", "broken.gz", "cut.gz"])
def test_an_unreadable_file_stops_the_import(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.gz").write_bytes(b"not gzip")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"one\n" * 1000)[:-20])
    with pytest.raises(TransferStopped, match="cannot be read"):
        list(lines_of(str(tmp_path / name)))


def test_the_newest_event_is_found_beside_bad_lines(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"nope\n" + line(SOME) + b"\n" + line({**SOME[0], "ts": 1}) + b"\n")
    assert newest([str(file)], Progress(), YEAR_MS) == NOW
    file.write_bytes(b"nope\n")
    with pytest.raises(TransferStopped, match="no event"):
        newest([str(file)], Progress(), YEAR_MS)


def test_the_state_comes_back_for_the_same_files_only(tmp_path: Path) -> None:
    file, other, path = tmp_path / "x", tmp_path / "y", tmp_path / "state"
    file.write_bytes(b"one")
    other.write_bytes(b"two")
    name = str(file)
    state = State({name: fingerprint(name)}, True, 5, 6, {name: 7}, 4, 1, 1, {"invalid-json": 2})
    state.save(path)
    assert load_state(path, [name], rebase=True) == state
    with pytest.raises(TransferStopped, match="other files"):
        load_state(path, [str(other)], rebase=True)
    with pytest.raises(TransferStopped, match="begun with --rebase"):
        load_state(path, [name], rebase=False)
    with pytest.raises(TransferStopped, match="another --rebase-to"):
        load_state(path, [name], rebase=True, rebase_to=7)
    file.write_bytes(b"changed")
    with pytest.raises(TransferStopped, match="have changed"):
        load_state(path, [name], rebase=True)
    path.write_text("{")
    with pytest.raises(TransferStopped, match="nothing to resume"):
        load_state(path, [name], rebase=True)


def test_the_summary_adds_up() -> None:
    totals = Totals(10, 5, 2, Counter({"invalid-json": 1, "missing-field": 2}))
    assert totals.lines(2.0) == [
        "read 10 = stored 5 + discarded 2 + rejected 3\n  invalid-json: 1\n  missing-field: 2",
        "2.0 s, 5 events/s",
    ]


def made(*options: str) -> list[dict[str, Any]]:
    return dataset.events(dataset.parser().parse_args(["--sessions", "200", *options]))


def test_the_data_set_has_the_originals_form() -> None:
    events = made("--until", "2016-12-02T05:36:16")
    assert {len(event["player_id"]) for event in events} == {32}
    assert {len(event["ts"]) for event in events} == {len("2016-12-02T05:36:16")}
    assert all(("country" in event) == (event["event"] == "start") for event in events)
    assert all(events_of(text, MAX_MS, 0) for text in dataset.lines(events, 1))
    times = [event["ts"] for event in events]
    assert times != sorted(times)
    assert max(times) <= "2016-12-02T05:36:16"


def test_the_data_set_follows_its_options() -> None:
    until = ("--until", "2016-12-02T05:36:16")
    assert made(*until) == made(*until)
    assert made(*until) != made(*until, "--seed", "2")
    times = [event["ts"] for event in made("--sorted")]
    assert times == sorted(times)
    assert len(made("--unfinished", "0", "--duplicates", "0.5")) == 600
    sizes = [len(json.loads(text)["rows"]) for text in dataset.lines(made("--unfinished", "0"), 7)]
    assert (set(sizes[:-1]), sum(sizes)) == ({7}, 400)


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.bz2"])
def test_the_data_set_is_written_as_the_files_name_says(tmp_path: Path, name: str) -> None:
    with dataset.opened(str(tmp_path / name)) as file:
        file.write(b"one\n")
    assert [found.text for found in lines_of(str(tmp_path / name))] == [b"one\n"]
