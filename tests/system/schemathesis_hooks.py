"""Schemathesis loads this: the document allows any date, the service none far ahead of now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import schemathesis
from hypothesis import strategies as st

_NOW = datetime.now()

schemathesis.openapi.format(
    "date-time",
    st.datetimes(min_value=_NOW - timedelta(days=400), max_value=_NOW).map(
        lambda moment: moment.replace(tzinfo=UTC).isoformat()
    ),
)
