"""`make docs`: write the tables of docs/api.md that are made from the code."""

from __future__ import annotations

import re
from pathlib import Path

from player_sessions.rules import reasons

API = Path(__file__).parent.parent / "docs" / "api.md"
_SECTION = re.compile(r"(<!-- reasons: .*? -->\n).*?(<!-- end of reasons -->\n)", re.DOTALL)


def reason_tables() -> str:
    """Return the table of problems and the table of what can be wrong with one event."""
    lines = ["", "| type | status | what to do |", "|---|---|---|"]
    for reason in reasons.OF_PROBLEMS:
        status = "4xx" if reason is reasons.HTTP_ERROR else str(reason.status)
        lines.append(f"| `{reason.name}` | {status} | {reason.advice} |")
    lines += ["", "An entry of `errors` or `rejected` has one of these as its `reason`:", ""]
    lines += ["| reason | what to do |", "|---|---|"]
    lines += [f"| `{reason.name}` | {reason.advice} |" for reason in reasons.OF_EVENT]
    return "\n".join([*lines, "", ""])


def with_reasons(page: str) -> str:
    """Return the text of docs/api.md with its tables made again."""
    made, count = _SECTION.subn(lambda found: found[1] + reason_tables() + found[2], page)
    if count != 1:
        raise SystemExit(f"{API.name}: the comments around the tables of reasons are missing")
    return made


if __name__ == "__main__":
    API.write_text(with_reasons(API.read_text()))
