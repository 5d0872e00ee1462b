"""The table options that follow from the retention, and the schemas that a service accepts."""

from __future__ import annotations

import pytest

from player_sessions.settings import Settings
from player_sessions.store.schema import (
    Applied,
    Migration,
    migrations,
    mismatch,
    newest_done,
    schema_options,
    table_options,
)

DAY = 86_400
KNOWN = [Migration(1, "one", 1, "a;"), Migration(2, "two", 1, "b;")]


def done(number: int, serves: int = 1, *, finished: bool = True) -> Applied:
    texts = {1: "a;", 2: "b;"}
    checksum = Migration(number, "", 1, texts.get(number, "c;")).checksum
    return Applied(number, checksum, serves, finished)


@pytest.mark.parametrize(
    ("retention", "window", "grace", "check"),
    [
        (365 * DAY, ("DAYS", "14"), 864_000, "600"),
        (7300 * DAY, ("DAYS", "281"), 864_000, "600"),
        (30 * DAY, ("DAYS", "1"), 72_000, "600"),
        (26 * DAY, ("DAYS", "1"), 62_400, "600"),
        (7 * DAY, ("HOURS", "6"), 16_800, "600"),
        (DAY, ("MINUTES", "55"), 2400, "330"),
        (3600, ("MINUTES", "2"), 100, "12"),
        (60, ("MINUTES", "1"), 1, "6"),
        (5, ("MINUTES", "1"), 1, "6"),
    ],
)
def test_the_tables_options_follow_from_the_retention(
    retention: float, window: tuple[str, str], grace: int, check: str
) -> None:
    options = table_options(retention)
    compaction = options.compaction
    assert options.default_time_to_live == retention
    assert options.gc_grace_seconds == grace
    assert (compaction["compaction_window_unit"], compaction["compaction_window_size"]) == window
    assert compaction["expired_sstable_check_frequency_seconds"] == check


def test_the_tables_of_countries_keep_their_rows_for_hours_of_their_own() -> None:
    options = schema_options(Settings(country_hours=24)).by_table()
    assert options["session_starts"] == options["session_ends"] == table_options(365 * DAY)
    assert options["starts_by_hour"] == options["start_counts"] == table_options(DAY)
    none_kept = schema_options(Settings(country_hours=0)).by_table()
    assert none_kept["starts_by_hour"] == table_options(3600)


def test_the_migrations_of_the_package_are_numbered_and_repeatable() -> None:
    known = migrations()
    assert [m.number for m in known] == list(range(1, len(known) + 1))
    for migration in known:
        statements = migration.statements("games", schema_options(Settings()))
        assert statements
        assert all("IF NOT EXISTS" in cql and "$" not in cql for cql in statements)


@pytest.mark.parametrize(
    ("applied", "reason"),
    [
        ([done(1), done(2)], None),
        ([done(1), done(2), done(3)], None),  # release N-1 runs on N's schema
        ([done(1), done(2), done(3, serves=2)], None),
        ([done(1), done(2), done(3, finished=False)], None),
        ([], "migration 1 is not applied"),
        ([done(1)], "migration 2 is not applied"),  # release N waits for its own schema
        ([done(1), done(2, finished=False)], "migration 2 is half applied"),
        ([done(1), done(2), done(3, serves=3)], "migration 3 of the database serves"),
        ([done(1), done(2), done(3, serves=3, finished=False)], "migration 3"),
        ([done(1), Applied(2, "x", 1, True)], "migration 2 of the database differs"),
    ],
)
def test_a_service_accepts_only_a_schema_that_serves_it(
    applied: list[Applied], reason: str | None
) -> None:
    found = mismatch(applied, KNOWN)
    assert found == reason or (reason is not None and str(found).startswith(reason))


def test_the_newest_done_migration_is_the_databases_version() -> None:
    assert newest_done([]) == 0
    assert newest_done([done(1), done(2, finished=False)]) == 1
