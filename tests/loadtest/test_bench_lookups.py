"""The measurement of lookups prints what it measured, beside a query and HTTP together."""

from __future__ import annotations

from loadtest.bench import lookups


def test_lookups_are_compared_with_a_query_and_http_together() -> None:
    p50s = {"single-row query": 0.5, "HTTP alone": 0.3, "presence": 1.0, "one session": 0.8}
    counted = lookups.Counted(1_000_000, 4.21, 3, [8.0] * 99 + [9.0])
    shown = lookups.tables({20: p50s}, counted)
    assert "| 20 | 0.50 | 0.30 | 1.00 (2.00; 1.25) | 0.80 (1.60; 1.00) |" in shown
    assert "| 1,000,000 | 4.2 | 3 | 8.0 | 9.0 |" in shown
