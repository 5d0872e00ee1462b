"""Player ids: what is one, and how it becomes the UUID under which a player is stored."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from uuid import RFC_4122, UUID

import pytest

from player_sessions.rules.players import PLACEHOLDERS, InvalidPlayerId, player_uuid, shown

PLAYER = "0a2d12a1a7e145de8bae44c0c6e06629"


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("steam:76561198000000000", "9340ddcf-77a5-8a9e-a752-7087c211b6d2"),
        ("42", "755345b7-ef54-80d5-92c1-7e04737ab3d9"),
        ("Jörg", "77c4843f-8aea-8ad0-bedf-9347de0333bb"),
    ],
)
def test_the_uuid_of_an_id_never_changes(text: str, stored: str) -> None:
    assert player_uuid(text) == UUID(stored)
    assert (player_uuid(text).version, player_uuid(text).variant) == (8, RFC_4122)


@pytest.mark.parametrize(
    "form", [PLAYER, PLAYER.upper(), str(UUID(PLAYER)), str(UUID(PLAYER)).upper()]
)
def test_a_uuid_is_stored_as_it_is_and_shown_as_32_digits(form: str) -> None:
    assert player_uuid(form) == UUID(PLAYER)
    assert shown(form) == PLAYER


@pytest.mark.parametrize(
    "text",
    [
        "x", "0", "-1", "true", "steam:1", "a/b", "..", ".", "a b", " a", "a ", "%2F", "a%00",
        "100%", "Jörg", "日本", "😀", "n" * 128, "😀" * 128, "nullable", "Nana",
        "nobody", "undefined1", "[object]", "[objection]", "null,null", PLAYER[1:], PLAYER + "0",
        "g" + PLAYER[1:], f"{{{UUID(PLAYER)}}}", f" {PLAYER}", "\N{FULLWIDTH DIGIT ZERO}" * 32,
        "' OR 1=1", "\\", '"', "\N{REPLACEMENT CHARACTER}",
    ],
)  # fmt: skip
def test_any_other_printable_text_is_an_id_and_shown_as_it_is(text: str) -> None:
    assert player_uuid(text).version == 8
    assert shown(text) == text


def test_ids_that_differ_in_one_character_are_different_players() -> None:
    texts = ["a", "A", "a ", " a", "ä", unicodedata.normalize("NFD", "ä"), PLAYER[1:], f" {PLAYER}"]
    assert len({player_uuid(text) for text in [*texts, PLAYER]}) == len(texts) + 1


@pytest.mark.parametrize(
    "text",
    [
        *sorted(PLACEHOLDERS), "NULL", "Null", "UNDEFINED", "None", "NaN", "(NULL)", " null ",
        "null\n", " ", "\t", "[object Object]", "[OBJECT OBJECT]", "[object Promise]",
        " [object Undefined] ",
    ],
)  # fmt: skip
def test_the_text_of_a_missing_value_is_refused_for_its_own_reason(text: str) -> None:
    with pytest.raises(InvalidPlayerId, match="missing value") as refused:
        player_uuid(text)
    assert refused.value.reason.name == "placeholder-player-id"


@pytest.mark.parametrize(
    "text",
    [
        "n" * 129,
        "a\nb",
        "a\x00",
        "\x7f",
        "\ud83d",
        "a\u200db",
        "\u00a0a",
        "a\u2028",
        "\ue000",
        "\U0010ffff",
    ],
)
def test_a_text_that_is_too_long_or_not_printable_is_refused(text: str) -> None:
    with pytest.raises(InvalidPlayerId, match="1-128 printable") as refused:
        player_uuid(text)
    assert refused.value.reason.name == "invalid-player-id"
    assert text not in str(refused.value)


def test_the_page_of_the_api_says_how_to_compute_the_uuid() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text()
    (script,) = re.findall(r"python3 -c '(.*?)' steam:42", page, re.DOTALL)
    run = subprocess.run(
        [sys.executable, "-c", script, "steam:42"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == str(player_uuid("steam:42"))


def test_the_page_of_the_api_lists_every_placeholder() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text()
    section = page.partition("`placeholder-player-id`:")[2].partition(" each in ")[0]
    assert set(re.findall(r"`([^`]+)`", section)) - {""} == {
        *PLACEHOLDERS - {""},
        "[object Object]",
        "[object Promise]",
    }
