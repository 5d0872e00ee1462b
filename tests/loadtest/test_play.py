"""The model of play: its draws, and that they can be rebuilt from the seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from statistics import mean, median
from uuid import UUID

import pytest

from loadtest.play import COUNTRIES, Mix, Model, Play, day_curve, player_id, zipf_rank
from loadtest.replay_file import lines
from player_sessions.rules.players import player_uuid

NOW = 1_800_000_000_000


def drawn(mix: Mix, batches: int, seed: str = "seed", step_ms: int = 5) -> list[list[str]]:
    play = Play(Model(seed, mix), NOW)
    return [play.next(NOW + i * step_ms).tokens for i in range(batches)]


def test_players_follow_zipfs_law() -> None:
    ranks = Counter(zipf_rank((i + 0.5) / 100_000, 1000, 0.8) for i in range(100_000))
    assert min(ranks) == 0
    assert max(ranks) == 999
    # A player of twice the rank plays 2 ** -0.8 times as much.
    assert ranks[199] / ranks[99] == pytest.approx(2**-0.8, rel=0.05)


def test_lengths_are_log_normal_and_countries_as_in_the_mix() -> None:
    model = Model("seed", Mix(session_seconds=30, sigma=1))
    sessions = [model.session(number) for number in range(5000)]
    seconds = sorted(session.length_ms / 1000 for session in sessions)
    assert median(seconds) == pytest.approx(30, rel=0.1)
    assert seconds[round(5000 * 0.8413)] == pytest.approx(30 * 2.718, rel=0.1)
    countries = Counter(session.country for session in sessions)
    expected = COUNTRIES["US"] / sum(COUNTRIES.values())
    assert countries["US"] / 5000 == pytest.approx(expected, rel=0.1)


def test_the_days_curve_has_the_mean_1_and_its_top_in_the_evening() -> None:
    hours = [day_curve(hour / 24) for hour in range(24)]
    assert mean(hours) == pytest.approx(1)
    assert min(hours) > 0.2
    assert 18 <= hours.index(max(hours)) <= 22


def test_batches_have_1_to_10_events_of_many_players() -> None:
    model = Model("seed", Mix())
    batches = drawn(Mix(), 500)
    assert set(map(len, batches)) == set(range(1, 11))
    players = {model.event(token, 0).player for batch in batches for token in batch}
    assert len(players) > 1000


def test_the_same_seed_plays_the_same_and_another_one_differently() -> None:
    assert drawn(Mix(), 50) == drawn(Mix(), 50)
    model, other = Model("a", Mix()), Model("b", Mix())
    assert model.session(7) != other.session(7)
    assert model.number_of(model.session(7).id) == 7
    assert model.number_of(other.session(7).id) is None


def test_a_token_rebuilds_the_event_that_was_sent() -> None:
    play = Play(Model("seed", Mix()), NOW)
    batch = play.next(NOW)
    again = Model("seed", Mix())
    rebuilt = [json.loads(again.event(t, play.origin_ms).json()) for t in batch.tokens]
    assert json.loads(batch.body)["events"] == rebuilt


def test_a_share_of_the_players_has_ids_that_are_not_uuids() -> None:
    model = Model("seed", Mix(named=0.3))
    ids = [player_id(model.player(rank)) for rank in range(2000)]
    assert len(set(ids)) == 2000
    assert mean(len(each) != 32 for each in ids) == pytest.approx(0.3, rel=0.15)
    assert all(len(player_id(Model("seed", Mix()).player(rank))) == 32 for rank in range(2000))
    play = Play(Model("seed", Mix(named=1.0)), NOW)
    sent = {event["player_id"] for event in json.loads(play.next(NOW).body)["events"]}
    assert all(each.startswith("game/") and each.endswith(" ä") for each in sent)
    assert play.reader().startswith("game/")


def test_a_replay_sends_the_uuid_under_which_the_service_stores_an_id(tmp_path: Path) -> None:
    event = {"event": "end", "session_id": str(UUID(int=1)), "ts": "2026-11-18T12:00:00"}
    for text in ("steam:42", "Jörg", UUID(int=5).hex):
        (tmp_path / "x").write_text(json.dumps({**event, "player_id": text}))
        ((_, (found,)),) = lines(tmp_path / "x")
        assert found.player == player_uuid(text)


def events(batches: list[list[str]]) -> list[str]:
    return [token for batch in batches for token in batch]


def test_an_end_is_sent_at_its_time_and_no_sooner() -> None:
    mix = Mix(late=0, twice=0, swapped=0, session_seconds=0.5)
    play = Play(Model("seed", mix), NOW)
    for step in range(800):
        for token in play.next(NOW + step).tokens:
            assert play.model.event(token, play.origin_ms).at_ms <= NOW + step
    told = [token for token in events(drawn(mix, 2000, step_ms=1)) if "-" in token]
    assert len(told) > 2000


def test_some_events_come_twice_late_or_in_the_wrong_order() -> None:
    mix = Mix(twice=0.1, late=0.1, swapped=0.1, session_seconds=0.2, sigma=0.1)
    tokens = events(drawn(mix, 6000))
    counts = Counter(tokens)
    assert sum(many > 1 for many in counts.values()) / len(counts) == pytest.approx(0.1, rel=0.25)
    model = Model("seed", mix)
    numbers = {int(token.partition("+")[0], 16) for token in tokens if "+" in token}
    sessions = [model.session(number) for number in numbers]
    assert mean(session.late_ms > 0 for session in sessions) == pytest.approx(0.1, rel=0.25)
    first: dict[int, str] = {}
    for token in tokens:
        sign = "+" if "+" in token else "-"
        first.setdefault(int(token.partition(sign)[0], 16), sign)
    assert mean(sign == "-" for sign in first.values()) == pytest.approx(0.1, rel=0.25)


def test_an_event_without_acknowledgement_is_sent_again_at_its_time() -> None:
    play = Play(Model("seed", Mix(twice=0, session_seconds=1000)), NOW)
    batch = play.next(NOW)
    play.again(batch, NOW + 500)
    early = events([play.next(NOW + 499).tokens for _ in range(5)])
    assert not set(batch.tokens) & set(early)
    later = events([play.next(NOW + 500).tokens for _ in range(20)])
    assert set(batch.tokens) <= set(later)
