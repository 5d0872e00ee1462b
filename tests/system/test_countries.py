"""`GET /v1/countries/starts`: its form, what it refuses, and who may ask."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev.cluster import Cluster
from dev.service import Server, Service, new_key, new_keyspace, run_schema_apply, variables

PATH = "/v1/countries/starts"
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def country_keyspace(cassandra: Cluster) -> str:
    name = new_keyspace()
    run_schema_apply(cassandra, name)
    return name


@pytest.fixture(scope="module")
def service(cassandra: Cluster, country_keyspace: str) -> Iterator[Server]:
    """Share a service whose deadline is long enough for a busy machine."""
    with Server(variables(cassandra, country_keyspace, DEADLINE="30s")) as running:
        yield running.ready()


def starts(service: Service, **parameters: Any) -> dict[str, Any]:
    answer = service.http.get(PATH, params=parameters)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def span(document: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(document["to"]) - datetime.fromisoformat(document["from"])


@pytest.mark.parametrize("hours", [1, 2, 168])
def test_an_answer_covers_as_many_whole_hours_as_were_asked_for(
    service: Server, hours: int
) -> None:
    document = starts(service, hours=hours)
    assert list(document) == ["from", "to", "as_of", "total", "countries"]
    assert span(document) == hours * HOUR
    until = datetime.fromisoformat(document["to"])
    assert (until.minute, until.second, until.microsecond) == (0, 0, 0)
    assert until - HOUR <= datetime.fromisoformat(document["as_of"]) < until


def test_without_hours_the_answer_covers_a_day(service: Server) -> None:
    assert span(starts(service)) == 24 * HOUR


def test_by_hour_adds_each_hour_oldest_first(service: Server) -> None:
    document = starts(service, hours=5, by="hour")
    since = datetime.fromisoformat(document["from"])
    hours = [datetime.fromisoformat(each["hour"]) for each in document["hours"]]
    assert hours == [since + n * HOUR for n in range(5)]
    assert all(list(each) == ["hour", "total", "countries"] for each in document["hours"])


@pytest.mark.parametrize(
    "query",
    ["hours=0", "hours=-1", "hours=169", "hours=abc", "hours=1.5", "hours=", "hours=1e3",
     "by=day", "by=", "by=country&hours=2", f"hours={10**30}"],
)  # fmt: skip
def test_a_bad_parameter_is_refused(service: Server, query: str) -> None:
    answer = service.http.get(f"{PATH}?{query}")
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:player-sessions:problem:invalid-parameter"
    assert answer.json()["detail"] in (
        "hours: must be a whole number from 1 to 168",
        "by: must be hour",
    )


@pytest.mark.parametrize("query", ["", "?hours=0"])
def test_head_is_answered_like_get_and_no_cache_stores_it(service: Server, query: str) -> None:
    got, head = (service.http.request(method, PATH + query) for method in ("GET", "HEAD"))
    assert head.content == b""
    assert head.status_code == got.status_code
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert head.headers["Cache-Control"] == got.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", [PATH, f"/{PATH}/", "/v1/%63ountries/starts"])
def test_requests_are_counted_under_the_route(service: Server, path: str) -> None:
    series = f'player_sessions_requests_total{{route="GET {PATH}",status="200"}} '

    def counted() -> float:
        lines = service.http.get(f"{service.probe_url}/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(series)).split()[-1])

    before = counted()
    assert service.http.get(service.url + path).status_code == 200
    assert counted() == before + 1


def test_only_a_key_with_the_scope_read_may_ask(
    cassandra: Cluster, country_keyspace: str, tmp_path: Path
) -> None:
    made = {scope: new_key(scope, [scope]) for scope in ("ingest", "read")}
    (tmp_path / "keys").write_text("".join(f"{line}\n" for _, line in made.values()))
    environ = variables(
        cassandra, country_keyspace, KEYS_FILE=str(tmp_path / "keys"), DEADLINE="30s"
    )
    with Server(environ) as keyed:
        keyed.ready()

        def status(**headers: str) -> int:
            return keyed.http.get(PATH, headers=headers).status_code

        assert status() == 401
        assert status(Authorization=f"Bearer {made['ingest'][0]}") == 403
        assert status(Authorization=f"Bearer {made['read'][0]}") == 200


def test_with_no_hours_kept_the_route_does_not_exist(
    cassandra: Cluster, country_keyspace: str
) -> None:
    with Server(variables(cassandra, country_keyspace, COUNTRY_HOURS="0")) as off:
        off.ready()
        answer, unknown = off.http.get(f"{PATH}?hours=1"), off.http.get("/v1/nowhere")
        assert answer.status_code == unknown.status_code == 404
        assert {**answer.json(), "detail": ""} == {**unknown.json(), "detail": ""}
        assert off.http.options(PATH).status_code == 404
        assert PATH not in off.http.get("/docs/openapi.json").json()["paths"]


def test_a_shorter_setting_is_the_most_and_the_default(
    cassandra: Cluster, country_keyspace: str
) -> None:
    with Server(
        variables(cassandra, country_keyspace, COUNTRY_HOURS="12", DEADLINE="30s")
    ) as short:
        short.ready()
        assert span(starts(short)) == 12 * HOUR
        refused: httpx.Response = short.http.get(PATH, params={"hours": 13})
        assert refused.status_code == 400
