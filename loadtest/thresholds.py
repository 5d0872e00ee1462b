"""Thresholds: a TOML file per scenario; a breach names the line of the file.

[write]              # a window or kind of request of the scenario
p90_ms = 500         # at most
min_events_per_second = 100
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from loadtest.tally import Figures

_MINIMUM = "min_"


class BadThresholds(Exception):
    """The file cannot be used; the message says why."""


class Threshold(NamedTuple):
    file: str
    line: int
    section: str
    name: str
    limit: float

    def breach(self, figures: Mapping[str, Figures]) -> str | None:
        """Return what was breached and how, or None; a figure that was not measured is a breach."""
        where = f"{self.file}:{self.line}: [{self.section}] {self.name} = {self.limit:g}"
        measured = figures.get(self.section, {}).get(self.name.removeprefix(_MINIMUM))
        if measured is None or measured != measured:
            return f"{where}: not measured"
        low = self.name.startswith(_MINIMUM)
        if measured < self.limit if low else measured > self.limit:
            return f"{where}: measured {measured:.4g}"
        return None


def load(path: Path, known: Mapping[str, set[str]]) -> list[Threshold]:
    """Read thresholds; raise BadThresholds, also for a figure that is not known.

    `known` has the names of the figures by section.
    """
    try:
        text = path.read_text()
        tables = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise BadThresholds(f"{path}: {error}") from None
    lines = dict(_lines(text))
    made = []
    for section, table in tables.items():
        if section not in known or not isinstance(table, dict):
            raise BadThresholds(f"{path}: [{section}] is none of {', '.join(sorted(known))}")
        for name, limit in table.items():
            if name.removeprefix(_MINIMUM) not in known[section]:
                names = ", ".join(sorted(known[section]))
                raise BadThresholds(f"{path}: [{section}] {name} is none of {names}")
            if isinstance(limit, bool) or not isinstance(limit, int | float):
                raise BadThresholds(f"{path}: [{section}] {name} must be a number")
            made.append(Threshold(path.name, lines[section, name], section, name, limit))
    return made


def _lines(text: str) -> Iterator[tuple[tuple[str, str], int]]:
    """Return the line number of each key, which tomllib does not tell."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if content.startswith("["):
            section = content.strip("[] ")
        elif "=" in content:
            yield (section, content.partition("=")[0].strip()), number
