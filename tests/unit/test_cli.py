"""The command line: its help with examples, exit codes, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from player_sessions import __version__
from player_sessions.cli import main
from player_sessions.settings import PREFIX, describe


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(main)))
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    run = CliRunner().invoke(main, [*path, "--help"])
    assert run.exit_code == 0
    assert "Example: " in run.output


def test_the_version_is_printed() -> None:
    assert __version__ in CliRunner().invoke(main, ["--version"]).output


@pytest.mark.parametrize("path", [["serve"], ["schema", "apply"], ["schema", "status"], ["import"]])
def test_bad_settings_end_it_with_name_and_reason(path: list[str]) -> None:
    run = CliRunner().invoke(main, path, env={PREFIX + "HTTP_PORT": "x", PREFIX + "NOPE": "1"})
    assert run.exit_code == 2
    assert f"{PREFIX}HTTP_PORT: must be a whole number" in run.output
    assert f"{PREFIX}NOPE" in run.output


def test_a_wrong_option_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ["serve", "--nope"]).exit_code == 2


def test_the_settings_are_listed() -> None:
    plain = CliRunner().invoke(main, ["settings"]).output
    assert len(plain.splitlines()) == len(describe())
