"""The command `player-sessions`: serve, schema apply, schema status, import, settings."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from player_sessions import __version__
from player_sessions.settings import InvalidSettings, Settings, describe, load


def _settings() -> Settings:
    try:
        return load(os.environ)
    except InvalidSettings as error:
        click.echo(f"player-sessions: bad settings\n{error}", err=True)
        sys.exit(2)


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Game sessions on Apache Cassandra. Settings come from PLAYER_SESSIONS_… variables."""


@main.command(epilog="Example: PLAYER_SESSIONS_HTTP_PORT=9000 player-sessions serve")
def serve() -> None:
    """Serve the API until SIGTERM or Ctrl-C, then finish what is in flight."""
    from player_sessions import server

    sys.exit(server.run(_settings()))


@main.command(epilog="Example: player-sessions settings | column -t -s '|'")
@click.option("--markdown", is_flag=True, help="Print the page docs/settings.md.")
def settings(markdown: bool) -> None:
    """List every setting, its default and what it is."""
    rows = describe()
    if markdown:
        click.echo("| setting | default | what it is |\n|---|---|---|")
        for variable, default, doc in rows:
            click.echo(f"| `{variable}` | {f'`{default}`' if default else ''} | {doc} |")
        return
    width = max(len(variable) for variable, _, _ in rows)
    for variable, default, doc in rows:
        click.echo(f"{variable:{width}}  {default or '-':16} {doc}")


@main.group()
def schema() -> None:
    """The schema: the only commands that run DDL or look at it."""


_wait = click.option(
    "--wait", default=60.0, show_default=True, help="Seconds to wait for Cassandra."
)


@schema.command(epilog="Example: PLAYER_SESSIONS_REPLICATION=dc1:3 player-sessions schema apply")
@_wait
def apply(wait: float) -> None:
    """Bring keyspace, tables, retention and role to what this release and its settings say.

    Safe to run twice, and by two processes at once.
    """
    from player_sessions.schema import apply as schema_apply

    sys.exit(_with_session(wait, lambda s, opened: _applied(schema_apply.apply(s, opened, _say))))


def _applied(changes: int) -> int:
    click.echo(f"schema applied, {changes} statements" if changes else "nothing to do")
    return 0


@schema.command(epilog="Example: player-sessions schema status --wait 5")
@_wait
def status(wait: float) -> None:
    """Show what is applied and what differs; exit code 1 when something is left to apply."""
    from player_sessions.schema import apply as schema_apply

    def show(settings: Settings, opened: Any) -> int:
        lines, fits = schema_apply.status(settings, opened)
        click.echo("\n".join(lines))
        return 0 if fits else 1

    sys.exit(_with_session(wait, show))


def _with_session(wait: float, work: Any) -> int:
    from player_sessions.schema import apply as schema_apply

    settings = _settings()
    try:
        with schema_apply.session(settings, wait, _say) as opened:
            code: int = work(settings, opened)
            return code
    except schema_apply.SchemaError as error:
        _say(f"player-sessions: {error}")
    except Exception as error:
        _say(f"player-sessions: Cassandra refused: {error}")
    return 1
