"""The schema: its migrations, the table options for a retention, and what a service accepts.

The migrations are the .cql files beside this one. They are numbered, additive, and never edited
once released. The head of each says `-- serves: N`: a service must know at least migration N to run
beside it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from string import Template

from player_sessions.settings import Settings

_FILE = re.compile(r"(\d{4})_(\w+)\.cql\Z")
_SERVES = re.compile(r"^-- serves: (\d+)$", re.MULTILINE)
_DAY = 86400


@dataclass(frozen=True)
class Migration:
    """One numbered file of CQL."""

    number: int
    name: str
    serves: int
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, keyspace: str, options: SchemaOptions) -> list[str]:
        """Return the CQL statements, each of which can be repeated."""
        lines = (line for line in self.text.splitlines() if not line.startswith("--"))
        text = Template("\n".join(lines)).substitute(
            keyspace=keyspace,
            options=options.players.cql(),
            country_options=options.countries.cql(),
        )
        return [part.strip() for part in text.split(";") if part.strip()]


@dataclass(frozen=True)
class Applied:
    """One row of the table schema_migrations; `done` is False while it is half applied."""

    number: int
    checksum: str
    serves: int
    done: bool


@dataclass(frozen=True)
class TableOptions:
    """The options of a table that follow from how long its rows are kept."""

    default_time_to_live: int
    gc_grace_seconds: int
    compaction: Mapping[str, str]

    def cql(self) -> str:
        compaction = ", ".join(f"'{key}': '{value}'" for key, value in self.compaction.items())
        return (
            f"default_time_to_live = {self.default_time_to_live}"
            f" AND gc_grace_seconds = {self.gc_grace_seconds}"
            f" AND compaction = {{{compaction}}}"
        )


def table_options(retention: float) -> TableOptions:
    """Return the options for a retention in seconds.

    The compaction window is retention/26, rounded to the nearest whole number of the coarsest unit
    that fits: 14 days for a year. gc_grace is the time within which a repair must carry an erasure
    to every replica; hints are kept for no longer.
    """
    window = max(60.0, retention / 26)
    unit, seconds = next(
        (name, size)
        for name, size in (("DAYS", _DAY), ("HOURS", 3600), ("MINUTES", 60))
        if window >= size
    )
    size = round(window / seconds)
    check = max(1, min(600, size * seconds // 10))
    return TableOptions(
        default_time_to_live=math.ceil(retention),
        gc_grace_seconds=max(1, min(10 * _DAY, int(retention / 36))),
        compaction={
            "class": "org.apache.cassandra.db.compaction.TimeWindowCompactionStrategy",
            "compaction_window_unit": unit,
            "compaction_window_size": str(size),
            "expired_sstable_check_frequency_seconds": str(check),
        },
    )


@dataclass(frozen=True)
class SchemaOptions:
    """The options of the tables of players, and of the tables of starts per country."""

    players: TableOptions
    countries: TableOptions

    def by_table(self) -> dict[str, TableOptions]:
        """Return the options of every table whose rows expire, by its name."""
        return {
            "session_starts": self.players,
            "session_ends": self.players,
            "starts_by_hour": self.countries,
            "start_counts": self.countries,
        }


def schema_options(settings: Settings) -> SchemaOptions:
    """Return the options that follow from the settings.

    With no hours of starts to keep, the tables of starts per country are empty, and their options
    are those of one hour.
    """
    hours = max(1, settings.country_hours)
    return SchemaOptions(table_options(settings.retention), table_options(hours * 3600))


def migrations() -> list[Migration]:
    """Return the migrations of this package, numbered 1…n without a gap."""
    found = []
    for file in resources.files(__name__).iterdir():
        if match := _FILE.match(file.name):
            text = file.read_text(encoding="utf-8")
            serves = _SERVES.search(text)
            if serves is None:
                raise ValueError(f"{file.name}: its head must say `-- serves: N`")
            found.append(Migration(int(match[1]), match[2], int(serves[1]), text))
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError("the migrations' numbers have a gap")
    return found


def mismatch(applied: Iterable[Applied], known: Iterable[Migration]) -> str | None:
    """Return why a service that knows `known` must not run on this database, or None.

    A service runs on a database that has its newest migration or a newer one, unless a migration
    there, begun or done, serves only services that know more.
    """
    rows = {row.number: row for row in applied}
    mine = list(known)
    for row in rows.values():
        if row.serves > len(mine):
            return (
                f"migration {row.number} of the database serves services from {row.serves} on;"
                f" this one knows {len(mine)}: deploy a newer release"
            )
    for migration in mine:
        found = rows.get(migration.number)
        if found is None or not found.done:
            state = "is half applied" if found else "is not applied"
            return f"migration {migration.number} {state}: run `player-sessions schema apply`"
        if found.checksum != migration.checksum:
            return (
                f"migration {migration.number} of the database differs from this release's"
                " (checksum): was a released file edited?"
            )
    return None


def newest_done(applied: Iterable[Applied]) -> int:
    """Return the number of the newest migration that is done, or 0."""
    return max((row.number for row in applied if row.done), default=0)
