"""Hooks for Schemathesis: what the OpenAPI document cannot say of the service.

It allows future dates, which the service refuses. It cannot say that a batch with wrong events is
refused without the header `Prefer: handling=lenient`, and accepted with it. And the generator of
texts takes `\\p{S}` for a range with characters that Unicode has not assigned.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation

_NOW = datetime.now()

schemathesis.openapi.format(
    "date-time",
    st.datetimes(min_value=_NOW - timedelta(days=400), max_value=_NOW).map(
        lambda moment: moment.replace(tzinfo=UTC).isoformat()
    ),
)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Let no request whose body is wrong on purpose ask for lenient handling."""
    is_wrong = case.meta is not None and case.meta.is_negative_at(ParameterLocation.BODY)
    if is_wrong and case.headers and "Prefer" in case.headers:
        case.headers["Prefer"] = "handling=strict"


@schemathesis.hook
def filter_body(_: Any, body: Any) -> bool:
    """Leave out bodies in which an id has an unassigned character."""
    return not any(map(_has_unassigned, _ids_in(body)))


@schemathesis.hook
def filter_path_parameters(_: Any, path_parameters: Any) -> bool:
    """Leave out paths in which the id has an unassigned character."""
    return not any(map(_has_unassigned, _ids_in(path_parameters)))


def _ids_in(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [found for each in value for found in _ids_in(each)]
    if isinstance(value, dict):
        return [value.get("player_id"), *_ids_in(list(value.values()))]
    return []


def _has_unassigned(text: Any) -> bool:
    return isinstance(text, str) and any(unicodedata.category(each) == "Cn" for each in text)
