"""The command `player-sessions`: serve, schema, import, keys, settings, metrics."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from player_sessions import __version__
from player_sessions.keys import SCOPES
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
        click.echo(
            "# Settings\n\n`make docs` writes this page from the code. An unknown or bad setting"
        )
        click.echo("is refused at boot. Durations: `365d`, `2h`, `5m`, `1.5s`, `200ms`.\n")
        click.echo("| setting | default | what it is |\n|---|---|---|")
        for variable, default, doc in rows:
            click.echo(f"| `{variable}` | {f'`{default}`' if default else ''} | {doc} |")
        return
    width = max(len(variable) for variable, _, _ in rows)
    for variable, default, doc in rows:
        click.echo(f"{variable:{width}}  {default or '-':16} {doc}")


@main.command("metrics", epilog="Example: player-sessions metrics > docs/metrics.md")
def metrics_() -> None:
    """Print the page docs/metrics.md: every metric at /metrics."""
    from player_sessions.telemetry import metrics

    click.echo(
        "# Metrics\n\n`make docs` writes this page from the code. Beside these, /metrics has"
    )
    click.echo("the usual `process_…` and `python_…` of prometheus-client.\n")
    click.echo("| metric | kind | unit | labels | what it is |\n|---|---|---|---|---|")
    for name, kind, unit, labels, text in metrics.describe():
        click.echo(f"| `{name}` | {kind} | {unit} | {labels} | {text} |")


@main.command(
    "import",
    epilog="Example: player-sessions import --rebase events.jsonl.gz; then, when it was"
    " interrupted: player-sessions import --rebase --resume events.jsonl.gz",
)
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--rebase", is_flag=True, help="Shift all events so that the newest is now.")
@click.option("--resume", is_flag=True, help="Go on where an interrupted import of FILE... was.")
@click.option("--state", type=click.Path(path_type=Path), help="Default: FILE.import-state.")
@click.option(
    "--rejects",
    type=click.Path(path_type=Path),
    default=Path("rejects.jsonl"),
    show_default=True,
    help="Where bad lines go, with number and reason.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 10_000),
    default=200,
    show_default=True,
    help="Batches of 10 events under way at once.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=120.0,
    show_default=True,
    help="Seconds to try again while Cassandra is away.",
)
def import_(
    files: tuple[str, ...],
    rebase: bool,
    resume: bool,
    state: Path | None,
    rejects: Path,
    in_flight: int,
    patience: float,
) -> None:
    """Store events from FILE... or standard input: JSON Lines, plain, .gz or .bz2.

    A line is one event or one batch. A line with a wrong event stores nothing and goes to the
    rejects file; the import goes on. Importing a file twice is harmless.

    Sort the events by time first if you can. Shuffled data makes files in Cassandra that hold all
    times at once: they are touched by every read and go only when their newest event expires, so
    count with up to twice the retention on disk.

    Exit code: 0 all stored or discarded, 3 some rejected, 1 stopped, 2 usage, 130 interrupted.
    """
    from player_sessions.importer import command

    sys.exit(
        command.run(
            _settings(),
            list(files),
            rebase=rebase,
            resume=resume,
            state_file=state,
            rejects=rejects,
            in_flight=in_flight,
            patience=patience,
        )
    )


@main.group()
def keys() -> None:
    """API keys, of which only hashes are kept."""


@keys.command(
    "new", epilog="Example: player-sessions keys new --name my-game --scope ingest --file keys.txt"
)
@click.option("--name", default="key", show_default=True, help="Whose it is, for people.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="What it may do; give it again for more.",
)
@click.option("--file", type=click.Path(path_type=Path), help="Append its line to this file.")
def new_key(name: str, scopes: tuple[str, ...], file: Path | None) -> None:
    """Make a key: it is printed once, and the line for PLAYER_SESSIONS_KEYS_FILE after it.

    A key in a game client should have the scope ingest and no other: with it nobody can read.
    """
    from player_sessions.keys import InvalidKeys, new_key, parse

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
        _say(f"keep the key; this line goes into the keys file:\n{line}")


@main.group()
def schema() -> None:
    """The schema: the only commands that run DDL or look at it."""


_wait = click.option(
    "--wait",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds to wait until Cassandra answers.",
)


@schema.command(epilog="Example: PLAYER_SESSIONS_REPLICATION=dc1:3 player-sessions schema apply")
@_wait
@click.option(
    "--login-wait",
    default=120.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds to go on while the login is refused: a new cluster's superuser comes late.",
)
@click.option(
    "--login-from",
    metavar="TEXT",
    default="PLAYER_SESSIONS_CASSANDRA_USERNAME and _PASSWORD",
    help="Where the login comes from, to be named when it is refused.",
)
def apply(wait: float, login_wait: float, login_from: str) -> None:
    """Bring keyspace, tables, retention and role to what this release and its settings say.

    Safe to run twice, and by two processes at once. With a user name set, a Cassandra that takes
    any password is refused.
    """
    from player_sessions.schema import apply as schema_apply

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
    """Show what is applied and what differs; exit code 1 when something is left to apply."""
    from player_sessions.schema import apply as schema_apply

    def show(settings: Settings, opened: Any) -> int:
        lines, fits = schema_apply.status(settings, opened)
        click.echo("\n".join(lines))
        return 0 if fits else 1

    sys.exit(_with_session(schema_apply.Patience(answer=wait, login=0), show))


def _with_session(patience: Any, work: Any) -> int:
    from player_sessions.schema import apply as schema_apply

    settings = _settings()
    try:
        with schema_apply.session(settings, patience, _say) as opened:
            code: int = work(settings, opened)
            return code
    except schema_apply.SchemaError as error:
        _say(f"player-sessions: {error}")
    except Exception as error:
        _say(f"player-sessions: Cassandra refused: {error}")
    return 1
