"""The checker rejects each kind of bad history, and accepts all that a correct store may do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.faults import checker, history
from loadtest.faults.checker import check
from loadtest.faults.history import Event, Operation, Read, Session, Write

P, A, B = "player", "a", "b"
WHOLE = [Event("start", A, 10, "FI"), Event("end", A, 20)]
SHOWN = Session(A, "FI", 10, 20)


def write(begun: float, ended: float, *events: Event, outcome: str = "acknowledged") -> Write:
    return Write(0, begun, ended, P, list(events), outcome)  # type: ignore[arg-type]


def read(begun: float, ended: float, *sessions: Session) -> Read:
    return Read(1, begun, ended, P, list(sessions))


def kinds(*operations: Operation) -> list[str]:
    return [violation.kind for violation in check(operations)]


GOOD: dict[str, list[Operation]] = {
    "read after the acknowledgement": [write(0, 1, *WHOLE), read(2, 3, SHOWN)],
    "not yet acknowledged, not yet shown": [write(0, 9, *WHOLE), read(1, 2)],
    "not yet acknowledged, already shown": [write(0, 9, *WHOLE), read(1, 2, SHOWN)],
    "unknown and never shown": [write(0, 1, *WHOLE, outcome="unknown"), read(2, 3), read(4, 5)],
    "unknown and shown late": [
        write(0, 1, *WHOLE, outcome="unknown"), read(2, 3), read(4, 5, SHOWN),
    ],
    "two reads at once may differ": [
        write(0, 9, *WHOLE), read(1, 5, SHOWN), read(2, 6),
    ],
    "only one side": [write(0, 1, WHOLE[0]), read(2, 3)],
    "the end came first": [write(0, 1, WHOLE[1]), write(2, 3, WHOLE[0]), read(4, 5, SHOWN)],
    "sent again": [write(0, 1, *WHOLE), write(2, 3, *WHOLE), read(4, 5, SHOWN)],
    "an older one comes later": [
        write(0, 1, *WHOLE), write(2, 3, Event("end", A, 15)), read(4, 5, SHOWN),
    ],
    "at equal times the later country": [
        write(0, 1, *WHOLE), write(2, 3, Event("start", A, 10, "SE")),
        read(4, 5, Session(A, "SE", 10, 20)),
    ],
    "of another player": [
        Write(0, 0, 1, "other", WHOLE, "acknowledged"), read(2, 3),
    ],
    "newest end first": [
        write(0, 1, *WHOLE, Event("start", B, 10, "FI"), Event("end", B, 30)),
        read(2, 3, Session(B, "FI", 10, 30), SHOWN),
    ],
}  # fmt: skip

BAD: dict[str, tuple[str, list[Operation]]] = {
    "acknowledged, not listed": (checker.LOST, [write(0, 1, *WHOLE), read(2, 3)]),
    "its sides in two writes, not listed": (
        checker.LOST, [write(0, 1, WHOLE[0]), write(0, 1, WHOLE[1]), read(2, 3)],
    ),
    "sent again and then gone": (
        checker.LOST, [write(0, 1, *WHOLE), write(2, 3, *WHOLE), read(4, 5)],
    ),
    "shown, then gone": (
        checker.VANISHED,
        [write(0, 1, *WHOLE, outcome="unknown"), read(2, 3, SHOWN), read(4, 5)],
    ),
    "an end older than was acknowledged": (
        checker.STALE,
        [write(0, 1, *WHOLE), write(2, 3, Event("end", A, 25)), read(4, 5, SHOWN)],
    ),
    "an end older than was shown": (
        checker.STALE,
        [
            write(0, 1, *WHOLE), write(2, 3, Event("end", A, 25), outcome="unknown"),
            read(4, 5, Session(A, "FI", 10, 25)), read(6, 7, SHOWN),
        ],
    ),
    "the loser of two countries": (
        checker.STALE,
        [write(0, 1, *WHOLE), write(0, 1, Event("start", A, 10, "SE")), read(2, 3, SHOWN)],
    ),
    "the last to arrive instead of the latest": (
        checker.STALE,
        [
            write(0, 1, *WHOLE), write(2, 3, Event("start", A, 5, "SE")),
            read(4, 5, Session(A, "SE", 5, 20)),
        ],
    ),
    "never sent": (checker.PHANTOM, [read(0, 1, SHOWN)]),
    "sent later": (checker.PHANTOM, [read(0, 1, SHOWN), write(2, 3, *WHOLE)]),
    "refused, and stored all the same": (
        checker.PHANTOM, [write(0, 1, *WHOLE, outcome="refused"), read(2, 3, SHOWN)],
    ),
    "the start of one, the country of another": (
        checker.PHANTOM,
        [
            write(0, 1, *WHOLE), write(2, 3, Event("start", A, 12, "SE")),
            read(4, 5, Session(A, "FI", 12, 20)),
        ],
    ),
    "only one side was sent": (checker.PHANTOM, [write(0, 1, WHOLE[0]), read(2, 3, SHOWN)]),
    "listed twice": (checker.TWICE, [write(0, 1, *WHOLE), read(2, 3, SHOWN, SHOWN)]),
    "oldest end first": (
        checker.DISORDERED,
        [
            write(0, 1, *WHOLE, Event("start", B, 10, "FI"), Event("end", B, 30)),
            read(2, 3, SHOWN, Session(B, "FI", 10, 30)),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_accepted(name: str) -> None:
    assert kinds(*GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_rejected_for_what_it_is(name: str) -> None:
    kind, operations = BAD[name]
    assert kinds(*operations) == [kind]


def test_every_kind_of_violation_has_a_bad_history() -> None:
    assert {kind for kind, _ in BAD.values()} == set(checker.KINDS)


def test_a_history_is_kept_as_it_was(tmp_path: Path) -> None:
    operations = [operation for each in GOOD.values() for operation in each]
    history.save(tmp_path / "history", operations)
    assert history.load(tmp_path / "history") == operations


EVENTS = st.builds(
    lambda kind, session, at, country: Event(kind, session, at, country * (kind == "start")),
    st.sampled_from(["start", "end"]),
    st.sampled_from([A, B]),
    st.integers(1, 3),
    st.sampled_from(["FI", "SE"]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["acknowledged", "unknown", "unknown but stored", "refused"]),
            st.lists(EVENTS, min_size=1, max_size=3),
        ),
        st.just("read"),
    ),
    max_size=12,
)


class RightStore:
    """A store that handles requests one after another and follows the rules."""

    def __init__(self) -> None:
        self.starts: dict[str, tuple[int, str]] = {}
        self.ends: dict[str, int] = {}

    def write(self, events: list[Event]) -> None:
        for event in events:
            if event.kind == "start":
                start = event.at_ms, event.country
                self.starts[event.session] = max(start, self.starts.get(event.session, start))
            else:
                self.ends[event.session] = max(event.at_ms, self.ends.get(event.session, 0))

    def read(self) -> list[Session]:
        found = [
            Session(session, country, at, self.ends[session])
            for session, (at, country) in self.starts.items()
            if session in self.ends
        ]
        return sorted(found, key=lambda each: each.ended_ms, reverse=True)


@settings(max_examples=200)
@given(STEPS)
def test_whatever_a_right_store_does_is_accepted(steps: list[object]) -> None:
    store, operations = RightStore(), list[Operation]()
    for now, step in enumerate(steps):
        if isinstance(step, tuple):
            outcome, events = step
            if outcome in ("acknowledged", "unknown but stored"):
                store.write(events)
            outcome = outcome.partition(" ")[0]
            operations.append(write(now, now + 0.5, *events, outcome=outcome))
        else:
            operations.append(read(now, now + 0.5, *store.read()))
    assert kinds(*operations) == []
