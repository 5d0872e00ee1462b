"""Keys: how they are made, kept as hashes and read again, and what each key may do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from player_sessions.cli import main
from player_sessions.rules.reasons import FORBIDDEN, UNAUTHORIZED
from player_sessions.web.access import InvalidKeys, Keys, new_key, parse


def bearer(key: str) -> bytes:
    return b"Bearer " + key.encode()


def write(path: Path, *lines: str) -> None:
    """Replace the file by another of the same name, as a mounted Secret changes."""
    other = path.with_suffix(".new")
    other.write_text("".join(f"{line}\n" for line in lines))
    os.replace(other, path)


def test_a_key_may_do_what_its_scopes_say_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    game, game_line = new_key("game", ["ingest"])
    site, site_line = new_key("site", ["read", "ingest"])
    write(path, "# two keys", "", game_line, site_line)
    keys = Keys(str(path))
    assert keys.refusal(bearer(game), "ingest") is None
    assert keys.refusal(bearer(game), "read") == FORBIDDEN
    assert keys.refusal(bearer(site), "read") is None
    assert keys.refusal(b"bearer  " + site.encode(), "ingest") is None
    for wrong in (b"", b"Bearer ", b"Basic " + game.encode(), bearer(game[:-1]), b"Bearer \xff"):
        assert keys.refusal(wrong, "ingest") == UNAUTHORIZED


def test_the_file_has_no_key_in_it(tmp_path: Path) -> None:
    key, line = new_key("game", ["ingest"])
    assert key not in line
    assert len(key) > 40
    assert new_key("game", ["ingest"])[0] != key


def test_a_changed_file_is_read_again_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    old, old_line = new_key("old", ["ingest"])
    new, new_line = new_key("new", ["ingest"])
    write(path, old_line)
    keys = Keys(str(path))
    write(path, new_line)
    assert keys.refusal(bearer(new), "ingest") == UNAUTHORIZED
    keys.refresh()
    assert keys.refusal(bearer(new), "ingest") is None
    assert keys.refusal(bearer(old), "ingest") == UNAUTHORIZED
    write(path, "nonsense")
    keys.refresh()
    assert keys.refusal(bearer(new), "ingest") is None
    path.unlink()
    keys.refresh()
    keys.refresh()
    assert keys.refusal(bearer(new), "ingest") is None
    write(path, old_line)
    keys.refresh()
    assert keys.refusal(bearer(old), "ingest") is None


@pytest.mark.parametrize("lines", [(), ("",), ("# the keys come later", "")])
def test_a_file_that_is_empty_for_a_moment_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: tuple[str, ...]
) -> None:
    path = tmp_path / "keys"
    old, old_line = new_key("old", ["ingest"])
    new, new_line = new_key("new", ["ingest"])
    write(path, old_line)
    keys = Keys(str(path))
    write(path, *lines)
    keys.refresh()
    keys.refresh()
    assert keys.refusal(bearer(old), "ingest") is None
    said = capsys.readouterr()
    assert (said.out + said.err).count("there is no key in it") == 1
    write(path, new_line)
    keys.refresh()
    assert keys.refusal(bearer(new), "ingest") is None
    assert keys.refusal(bearer(old), "ingest") == UNAUTHORIZED


def test_a_file_that_could_not_be_opened_is_read_as_soon_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    old, old_line = new_key("old", ["ingest"])
    new, new_line = new_key("new", ["ingest"])
    write(path, old_line)
    keys = Keys(str(path))
    write(path, new_line)
    with monkeypatch.context() as changed:
        changed.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(OSError("no")))
        keys.refresh()
    assert keys.refusal(bearer(old), "ingest") is None
    keys.refresh()
    assert keys.refusal(bearer(new), "ingest") is None


@pytest.mark.parametrize("text", ["", "\n", "# none yet\n"])
def test_a_file_without_a_key_is_refused_at_boot(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(InvalidKeys, match="no key"):
        Keys(str(path))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("game ingest", "line 1"),
        ("game ingest abc", "line 1"),
        ("\ngame drink " + "0" * 64, "line 2: no such scope: drink"),
        ("\n".join([f"a read {'0' * 64}", f"b read {'0' * 64}"]), "line 2: the same key"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_not_shown(text: str, fault: str) -> None:
    with pytest.raises(InvalidKeys) as raised:
        parse(text)
    assert fault in str(raised.value)
    assert "0" * 64 not in str(raised.value)


def test_the_command_prints_the_key_and_appends_its_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    command = ["keys", "new", "--name", "game", "--scope", "ingest", "--scope", "read"]
    made = CliRunner().invoke(main, [*command, "--file", str(path)])
    assert made.exit_code == 0
    keys = Keys(str(path))
    assert keys.refusal(bearer(made.stdout.strip()), "read") is None
    alone = CliRunner().invoke(main, command)
    assert alone.stdout.startswith("ps_")
    assert "game ingest,read" in alone.stderr


@pytest.mark.parametrize("name", ["two words", "", "x" * 65])
def test_the_command_refuses_a_name_that_breaks_the_file(name: str) -> None:
    made = CliRunner().invoke(main, ["keys", "new", "--name", name, "--scope", "read"])
    assert made.exit_code == 1
    assert made.stdout == ""
