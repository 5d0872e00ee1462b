"""Lenient batches and the largest batch over HTTP, with a double in place of the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from player_sessions.rules.events import Event
from player_sessions.rules.reasons import STORE_TIMEOUT
from player_sessions.settings import Settings
from player_sessions.store.store import StoreError
from player_sessions.telemetry.metrics import REGISTRY
from player_sessions.web.app import build, create_app
from player_sessions.web.context import Context

START = {
    "player_id": "0a2d12a1a7e145de8bae44c0c6e06629",
    "event": "start",
    "session_id": "4a0c43c9-c43a-42ff-ba55-67563dfa35d4",
    "ts": "2026-11-18T12:00:00",
    "country": "FI",
}
END = {**START, "event": "end"}
WRONG = {**START, "country": "fi", "session_id": 7}
LATE = {**END, "ts": "2999-01-01T00:00:00"}
LENIENT = {"Prefer": "handling=lenient"}
CONTRACTS = [("/v1/events", "events"), ("/", "rows")]


class Store:
    """A double that keeps what it has to write, and fails with `error` when it has one."""

    reason = None

    def __init__(self) -> None:
        self.written: list[Event] = []
        self.error: Exception | None = None

    def surplus(self, _: str) -> None:
        return None

    async def write(self, events: Sequence[Event]) -> tuple[int, int]:
        if self.error:
            raise self.error
        self.written += events
        return len(events) - 1, 1


def sent(
    store: Store, path: str, body: Any, headers: dict[str, str] | None = None, **settings: Any
) -> httpx.Response:
    """Return the answer to a POST of `body`, which is bytes or becomes JSON."""
    app: Any = create_app(Context(Settings(**settings), store))  # type: ignore[arg-type]

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"state": {}}, receive, send)

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            return await client.post(path, content=content, headers=headers)

    return asyncio.run(run())


def rejected(reason: str) -> float:
    name = "player_sessions_rejected_events_total"
    return REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0


@pytest.mark.parametrize(("path", "key"), CONTRACTS)
def test_a_lenient_request_stores_the_valid_events_and_names_the_others(
    path: str, key: str
) -> None:
    store = Store()
    before = {name: rejected(name) for name in ("invalid-country", "timestamp-in-future")}
    answer = sent(store, path, {key: [START, WRONG, END, LATE, 7]}, LENIENT)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["preference-applied"] == "handling=lenient"
    assert answer.headers["vary"] == "Prefer"
    document = answer.json()
    assert (document["accepted"], document["discarded"]) == (1, 1)
    assert [(e["index"], e["field"], e["reason"]) for e in document["rejected"]] == [
        (1, "session_id", "invalid-session-id"),
        (1, "country", "invalid-country"),
        (3, "ts", "timestamp-in-future"),
        (4, "", "not-an-object"),
    ]
    assert all(error["detail"] for error in document["rejected"])
    assert [event.kind for event in store.written] == ["start", "end"]
    assert {name: rejected(name) - count for name, count in before.items()} == dict.fromkeys(
        before, 1
    )


@pytest.mark.parametrize(("path", "key"), CONTRACTS)
def test_a_lenient_request_of_valid_events_has_an_empty_list(path: str, key: str) -> None:
    answer = sent(Store(), path, {key: [START, END]}, LENIENT)
    assert (answer.status_code, answer.text) == (
        200,
        '{"accepted":1,"discarded":1,"rejected":[]}',
    )
    assert answer.headers["preference-applied"] == "handling=lenient"


@pytest.mark.parametrize(("path", "key"), CONTRACTS)
def test_a_lenient_request_without_a_valid_event_succeeds_and_writes_nothing(
    path: str, key: str
) -> None:
    store = Store()
    store.error = AssertionError("the store was asked")
    answer = sent(store, path, {key: [WRONG, LATE]}, LENIENT)
    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["discarded"]) == (0, 0)
    assert {error["index"] for error in answer.json()["rejected"]} == {0, 1}


@pytest.mark.parametrize(("path", "key"), CONTRACTS)
@pytest.mark.parametrize(
    "headers",
    [
        None,
        {"Prefer": "handling=strict"},
        {"Prefer": "respond-async"},
        {"Prefer": "x;handling=lenient"},
    ],
)
def test_any_other_request_stays_strict(
    path: str, key: str, headers: dict[str, str] | None
) -> None:
    store = Store()
    answer = sent(store, path, {key: [START, WRONG]}, headers)
    assert answer.status_code == 422
    good = sent(store, path, {key: [START, END]}, headers)
    assert good.text == ("POST success" if path == "/" else '{"accepted":1,"discarded":1}')
    for each in (answer, good):
        assert "preference-applied" not in each.headers
        assert "vary" not in each.headers
    assert len(store.written) == 2


@pytest.mark.parametrize(("path", "key"), CONTRACTS)
def test_what_lenient_does_not_loosen(path: str, key: str) -> None:
    def refusal(body: Any, **headers: str) -> tuple[int, str]:
        answer = sent(Store(), path, body, LENIENT | headers)
        assert "preference-applied" not in answer.headers
        return answer.status_code, answer.json()["type"].rpartition(":")[2]

    good = json.dumps({key: [START]}).encode()
    assert refusal(good[:-1]) == (400, "invalid-json")
    assert refusal([START]) == (422, "invalid-batch")
    assert refusal({"other": [START]}) == (422, "invalid-batch")
    assert refusal({key: []}) == (422, "batch-size")
    assert refusal({key: [START, WRONG] * 6}) == (422, "batch-size")
    assert refusal(good + b" " * 65_536) == (413, "body-too-large")
    assert refusal(good, **{"Content-Type": "text/plain"}) == (415, "unsupported-media-type")
    assert refusal(good, **{"Content-Encoding": "gzip"}) == (400, "invalid-encoding")


def test_a_lenient_request_is_not_acknowledged_when_the_store_fails() -> None:
    store = Store()
    store.error = StoreError(STORE_TIMEOUT, "too slow")
    before = rejected("invalid-country")
    answer = sent(store, "/v1/events", {"events": [START, WRONG]}, LENIENT)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "preference-applied" not in answer.headers
    assert "rejected" not in answer.text
    assert rejected("invalid-country") == before


def test_a_field_that_cannot_be_decoded_makes_only_its_own_event_wrong() -> None:
    body = json.dumps({"events": [START, WRONG, END]}).encode().replace(b'"fi"', rb'"f\ud83d"')
    assert sent(Store(), "/v1/events", body).status_code == 400
    answer = sent(Store(), "/v1/events", body, LENIENT)
    assert answer.status_code == 200
    assert {error["index"] for error in answer.json()["rejected"]} == {1}


@pytest.mark.parametrize(("path", "key"), CONTRACTS)
@pytest.mark.parametrize("headers", [None, LENIENT])
@pytest.mark.parametrize("most", [1, 10, 200, 500])
def test_the_largest_batch_is_a_setting(
    path: str, key: str, headers: dict[str, str] | None, most: int
) -> None:
    def answered(count: int) -> httpx.Response:
        more = {"max_batch_events": most, "max_body_bytes": 1 << 20}
        return sent(Store(), path, {key: [START] * count}, headers, **more)

    assert answered(most).status_code == 200
    refused = answered(most + 1)
    assert refused.status_code == 422
    assert refused.json()["detail"] == f"a batch has 1-{most} events, not {most + 1}"


@pytest.mark.parametrize("most", [10, 500])
def test_the_description_has_the_largest_batch_the_preference_and_both_answers(most: int) -> None:
    context = Context(Settings(max_batch_events=most), None)  # type: ignore[arg-type]
    paths: Any = build(context).openapi_schema.to_schema()["paths"]
    for path, key in CONTRACTS:
        post = paths[path]["post"]
        (media,) = post["requestBody"]["content"].values()
        events = media["schema"]["properties"][key]
        assert (events["minItems"], events["maxItems"]) == (1, most)
        (prefer,) = post["parameters"]
        assert (prefer["name"], prefer["in"], prefer["required"]) == ("Prefer", "header", False)
        stored = post["responses"]["200"]
        assert "Preference-Applied" in stored["headers"]
        document = stored["content"]["application/json"]["schema"]
        assert set(document["properties"]) == {"accepted", "discarded", "rejected"}
        assert document["required"] == ["accepted", "discarded"]
        assert ("text/plain" in stored["content"]) == (path == "/")
