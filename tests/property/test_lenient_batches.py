"""A lenient batch takes exactly the events that a strict batch of each alone would take."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from player_sessions.rules.events import BatchRefused, Event, read_events, read_rows
from player_sessions.rules.lenient import Read, read_leniently
from player_sessions.rules.players import player_uuid
from player_sessions.rules.reasons import OF_EVENT, names
from tests.property.test_pure_rules import (
    NOW,
    good_event,
    ignored_values,
    json_values,
    nearly_events,
)

FIELDS = ("player_id", "session_id", "event", "ts", "country", "nick")


def replaced(event: dict[str, object], field: str, value: bytes) -> bytes:
    """Return the event as JSON, in which the field has the value as its raw text."""
    return json.dumps({**event, field: "?"}).encode().replace(b'"?"', value)


good = good_event.map(lambda event: json.dumps(event).encode())
items = st.one_of(
    good,
    (nearly_events | json_values).map(lambda value: json.dumps(value).encode()),
    st.builds(replaced, good_event, st.sampled_from(FIELDS), ignored_values),
)
contracts = st.sampled_from([("events", read_events), ("rows", read_rows)])


def body_of(key: str, some: list[bytes]) -> bytes:
    return b'{"%b": [%b]}' % (key.encode(), b", ".join(some))


@given(contracts, st.lists(items, min_size=1, max_size=4))
@settings(max_examples=500)
def test_lenient_takes_the_events_that_strict_would_take_one_by_one(
    contract: tuple[str, Read], some: list[bytes]
) -> None:
    key, read = contract
    taken: list[Event] = []
    wrong = set()
    named = []
    for index, item in enumerate(some):
        try:
            taken += read(body_of(key, [item]), NOW, 10, player_uuid)
        except BatchRefused as refused:
            wrong.add(index)
            named += [(index, error.field, error.reason) for error in refused.errors]

    events, errors = read_leniently(read, key, body_of(key, some), NOW, 10, player_uuid)
    assert events == taken
    assert {error.index for error in errors} == wrong
    assert set(named) <= {(error.index, error.field, error.reason) for error in errors}
    assert {error.reason for error in errors} <= set(names(OF_EVENT))


no_batches = st.binary() | json_values.map(lambda value: json.dumps(value).encode())
bad_sizes = st.lists(items, max_size=0) | st.lists(items, min_size=11, max_size=13)


@given(contracts, no_batches | bad_sizes)
@settings(max_examples=200)
def test_lenient_refuses_what_is_no_batch_like_strict(
    contract: tuple[str, Read], sent: bytes | list[bytes]
) -> None:
    key, read = contract
    body = sent if isinstance(sent, bytes) else body_of(key, sent)
    with pytest.raises(BatchRefused) as strict:
        read(body, NOW, 10, player_uuid)
    with pytest.raises(BatchRefused) as lenient:
        read_leniently(read, key, body, NOW, 10, player_uuid)
    assert (lenient.value.reason, str(lenient.value)) == (strict.value.reason, str(strict.value))
