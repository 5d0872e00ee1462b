"""The command `player-sessions`, whose subcommands import what they need only when they run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from player_sessions import __version__
from player_sessions.settings import InvalidSettings, Settings, describe, load
from player_sessions.transfer import options as transfer
from player_sessions.web.access import SCOPES

_SETTINGS_PAGE = """# Settings

`make docs` writes this page from the code. The service does not start with an unknown variable or a
bad value. Durations are written `365d`, `2h`, `5m`, `1.5s` or `200ms`.
"""


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
    """Store game sessions in Apache Cassandra. PLAYER_SESSIONS_… variables are the settings."""


@main.command(epilog="Example: PLAYER_SESSIONS_HTTP_PORT=9000 player-sessions serve")
def serve() -> None:
    """Serve the API until SIGTERM or Ctrl-C, then finish what is in flight."""
    from player_sessions import server

    sys.exit(server.run(_settings()))


@main.command(epilog="Example: player-sessions settings | column -t -s '|'")
@click.option("--markdown", is_flag=True, help="Print the page docs/settings.md.")
def settings(markdown: bool) -> None:
    """List every setting with its default and its meaning."""
    rows = describe()
    if markdown:
        click.echo(_SETTINGS_PAGE)
        click.echo("| setting | default | values | what it is |\n|---|---|---|---|")
        for variable, default, values, doc in rows:
            click.echo(f"| `{variable}` | {f'`{default}`' if default else ''} | {values} | {doc} |")
        return
    width = max(len(variable) for variable, *_ in rows)
    for variable, default, _, doc in rows:
        click.echo(f"{variable:{width}}  {default or '-':16} {doc}")


@main.command("metrics", epilog="Example: player-sessions metrics > docs/metrics.md")
def metrics_() -> None:
    """Print the page docs/metrics.md, which lists every metric of /metrics."""
    from player_sessions.telemetry import metrics

    click.echo("# Metrics\n\n`make docs` writes this page from the code. /metrics also has the")
    click.echo("usual `process_…` and `python_…` metrics of prometheus-client.\n")
    click.echo("| metric | kind | unit | labels | what it is |\n|---|---|---|---|---|")
    for name, kind, unit, labels, text in metrics.describe():
        click.echo(f"| `{name}` | {kind} | {unit} | {labels} | {text} |")


@main.command("import", epilog=transfer.EPILOG)
@transfer.import_options
def import_(files: tuple[str, ...], **options: Any) -> None:
    """Store events from FILE... or standard input: JSON Lines in UTF-8.

    Files packed with gzip, bzip2 or zstd are recognised whatever their name. Standard input, a pipe
    or a device is read once, without a state file.

    A line is one event or one batch, of at most 1 MiB. A line with a wrong event stores nothing and
    goes to the rejects file, and the import goes on. Importing a file twice is harmless.

    Sort the events by time first if you can. Shuffled events make SSTables in Cassandra that cover
    all times: every read touches them, and they are deleted only when their newest event expires.
    Disk usage can then reach twice that of sorted events.

    Events older than the retention are discarded.

    Exit codes: 0 all events are stored, 3 some lines were rejected, 4 no line was rejected but some
    events were discarded, 1 the import stopped, 2 wrong usage, 130 interrupted.
    """
    from player_sessions.transfer import command

    sys.exit(command.run(_settings(), list(files), command.Options(**options)))


@main.command(epilog=transfer.ERASE_EPILOG)
@transfer.erase_options
def erase(players: tuple[str, ...], **options: Any) -> None:
    """Erase PLAYER...: all their events up to now and up to 5 minutes from now.

    Erased events stay gone when they are sent again. An error of one player does not stop the
    others; the failed players are named at the end.

    Exit codes: 0 all players are erased, 3 some are not, 1 the command stopped, 2 wrong usage, 130
    interrupted.
    """
    from player_sessions.transfer import erase as erasing

    if not players and options["file"] is None:
        raise click.UsageError("name a player, or a list of players by --file")
    sys.exit(erasing.run(_settings(), players, **options))


@main.command(epilog=transfer.EXPORT_EPILOG)
@transfer.export_options
def export(output: str, **options: Any) -> None:
    """Write events from the store to FILE, as JSON Lines that `import` reads.

    FILE is packed with gzip if its name ends in .gz, and with zstd if it ends in .zst; "-" is
    standard output. The export refuses a file that exists.

    Without --player, the events of all players are written, in no order. Each line begins with the
    time of its event, so that `LC_ALL=C sort` sorts the lines by time.

    Events older than the retention are left out, and those that arrive meanwhile may be.

    Exit codes: 0 all events are written, 1 the export stopped, 2 wrong usage, 130 interrupted.
    """
    from player_sessions.transfer import export_command

    sys.exit(export_command.run(_settings(), output, export_command.Options(**options)))


@main.group()
def keys() -> None:
    """Make API keys. Only their hashes are stored."""


@keys.command(
    "new", epilog="Example: player-sessions keys new --name my-game --scope ingest --file keys.txt"
)
@click.option(
    "--name", default="key", show_default=True, help="A name for people, such as the owner's."
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="What the key may do. Repeat the option for several scopes.",
)
@click.option("--file", type=click.Path(path_type=Path), help="Append the key's line to this file.")
def new_key(name: str, scopes: tuple[str, ...], file: Path | None) -> None:
    """Make a key and print it once, with its line for PLAYER_SESSIONS_KEYS_FILE.

    A key in a game client should have only the scope ingest, with which nobody can read.
    """
    from player_sessions.web.access import InvalidKeys, new_key, parse

    key, line = new_key(name, sorted(set(scopes)))
    try:
        parse(line)
        if file is not None:
            with file.open("a", encoding="utf-8") as appended:
                appended.write(line + "\n")
    except (InvalidKeys, OSError) as error:
        _say(f"player-sessions: {error}")
        sys.exit(1)
    click.echo(key)
    if file is None:
        _say(f"keep the key; put this line into the keys file:\n{line}")


@main.group()
def schema() -> None:
    """Apply the schema, or show its state. No other command changes it."""


_wait = click.option(
    "--wait",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0),
    help="How many seconds to wait until Cassandra answers.",
)


@schema.command(epilog="Example: PLAYER_SESSIONS_REPLICATION=dc1:3 player-sessions schema apply")
@_wait
@click.option(
    "--login-wait",
    default=120.0,
    show_default=True,
    type=click.FloatRange(0),
    help="How many seconds to retry a refused login: a new cluster gets its superuser late.",
)
@click.option(
    "--login-from",
    metavar="TEXT",
    default="PLAYER_SESSIONS_CASSANDRA_USERNAME and _PASSWORD",
    help="Where the login comes from, for the message when it is refused.",
)
def apply(wait: float, login_wait: float, login_from: str) -> None:
    """Create or change keyspace, tables, retention and role as this release and the settings say.

    It is safe to run this twice, and by two processes at once. When a user name is set, a Cassandra
    that accepts any password is refused.
    """
    from player_sessions.store.schema import apply as schema_apply

    def work(settings: Settings, opened: Any) -> int:
        if settings.cassandra_username:
            schema_apply.refuse_open_door(settings)
        changes = schema_apply.apply(settings, opened, _say)
        click.echo(f"schema applied, {changes} statements" if changes else "nothing to do")
        return 0

    sys.exit(_with_session(schema_apply.Patience(wait, login_wait, login_from), work))


@schema.command(epilog="Example: player-sessions schema status --wait 5")
@_wait
def status(wait: float) -> None:
    """Show what is applied and what differs. The exit code is 1 if anything is left to apply."""
    from player_sessions.store.schema import apply as schema_apply

    def show(settings: Settings, opened: Any) -> int:
        lines, fits = schema_apply.status(settings, opened)
        click.echo("\n".join(lines))
        return 0 if fits else 1

    sys.exit(_with_session(schema_apply.Patience(answer=wait, login=0), show))


def _with_session(patience: Any, work: Any) -> int:
    from player_sessions.store.schema import apply as schema_apply

    try:
        return schema_apply.run(_settings(), patience, _say, work)
    except schema_apply.SchemaError as error:
        _say(f"player-sessions: {error}")
    return 1
