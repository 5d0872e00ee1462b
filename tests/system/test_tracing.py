"""Traces as a receiver of OpenTelemetry's protocol gets them, over HTTP and over gRPC."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, variables, wait_for
from tests.system.test_clients import metric

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
DROPPED = "player_sessions_spans_dropped_total"


class Receiver:
    """A receiver that keeps the spans that arrive, as dictionaries."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.service = ""

    def take(self, request: Any) -> None:
        for resource in request.resource_spans:
            attributes = _attributes(resource.resource.attributes)
            self.service = attributes["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_span(span) for span in scope.spans]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [span for span in list(self.spans) if span["name"] == name]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def _span(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "kind": span.kind,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "links": [link.span_id.hex() for link in span.links],
        "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        "error": span.status.code == 2,
        **_attributes(span.attributes),
    }


@contextmanager
def over_http(receiver: Receiver) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                raise AssertionError("not asked for")
            receiver.take(otlp.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def over_grpc(receiver: Receiver) -> Iterator[str]:
    class Servicer(otlp_grpc.TraceServiceServicer):
        def Export(self, request: Any, _: object) -> Any:
            receiver.take(request)
            return otlp.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(2))
    otlp_grpc.add_TraceServiceServicer_to_server(Servicer(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def traced(cluster: Cluster, keyspace: str, endpoint: str, **more: str) -> Server:
    return Server(
        variables(cluster, keyspace)
        | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
            **more,
        }
    )


def post_one(service: Server, **headers: str) -> Any:
    player, session, now = uuid4(), uuid4(), now_ms()
    events = {"events": [start(player, session, now - 1000), end(player, session, now)]}
    answer = service.http.post("/v1/events", json=events, headers=headers)
    assert answer.status_code == 200
    service.sessions(player)
    return answer


@pytest.mark.parametrize(
    ("receive", "protocol"), [(over_http, "http/protobuf"), (over_grpc, "grpc")]
)
def test_a_request_has_a_span_and_so_has_each_query_and_group_commit(
    cassandra: Cluster, keyspace: str, receive: Any, protocol: str
) -> None:
    receiver = Receiver()
    with (
        receive(receiver) as endpoint,
        traced(cassandra, keyspace, endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol) as service,
    ):
        service.ready()
        answer = post_one(service, traceparent=f"00-{TRACE}-{PARENT}-01")
        assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
        batch = wait_for(lambda: receiver.named(f"BATCH {keyspace}"), what="the batch's span")[0]
        (request,) = wait_for(lambda: receiver.named("POST /v1/events"), what="its request")
        read = wait_for(lambda: receiver.named("GET /v1/players/{player_id}/sessions"))[0]
        queries = wait_for(lambda: receiver.named("SELECT session_starts"))
        queries += receiver.named("SELECT session_ends")
    assert receiver.service == "player-sessions"
    assert (request["trace"], request["parent"], request["kind"]) == (TRACE, PARENT, 2)
    assert (request["http.request.method"], request["http.route"]) == ("POST", "/v1/events")
    assert request["http.response.status_code"] == 200
    assert (batch["trace"], batch["parent"], batch["kind"]) == (TRACE, request["id"], 3)
    assert batch["links"] == [request["id"]]
    assert (batch["db.system.name"], batch["db.namespace"]) == ("cassandra", keyspace)
    assert (batch["db.operation.name"], batch["db.operation.batch.size"]) == ("BATCH", 3)
    assert 0 < batch["seconds"] <= request["seconds"]
    assert {query["parent"] for query in queries} == {read["id"]}
    assert {query["db.collection.name"] for query in queries} == {"session_starts", "session_ends"}


def test_an_erasure_has_a_span_that_does_not_name_the_player(
    cassandra: Cluster, keyspace: str
) -> None:
    receiver, player = Receiver(), uuid4()
    with over_http(receiver) as endpoint, traced(cassandra, keyspace, endpoint) as service:
        service.ready()
        assert service.http.delete(f"/v1/players/{player.hex}").status_code == 200
        (batch,) = wait_for(lambda: receiver.named(f"BATCH {keyspace}"), what="the batch's span")
        route = "DELETE /v1/players/{player_id}"
        (request,) = wait_for(lambda: receiver.named(route), what="its request")
    assert (batch["trace"], batch["parent"]) == (request["trace"], request["id"])
    assert batch["db.operation.batch.size"] == 2
    assert request["http.response.status_code"] == 200
    assert player.hex not in str(receiver.spans)
    assert str(player) not in str(receiver.spans)


def test_a_group_commit_links_every_traced_request_that_it_carries(
    cassandra: Cluster, keyspace: str
) -> None:
    receiver = Receiver()
    with over_http(receiver) as endpoint, traced(cassandra, keyspace, endpoint) as service:
        service.ready()
        with futures.ThreadPoolExecutor(16) as pool:
            done = [pool.submit(post_one, service) for _ in range(160)]
        assert all(each.result().status_code == 200 for each in done)
        wait_for(lambda: len(receiver.named("POST /v1/events")) == 160, what="all requests")
        wait_for(lambda: len(receiver.named("GET /v1/players/{player_id}/sessions")) == 160)
    batches = receiver.named(f"BATCH {keyspace}")
    linked = [link for batch in batches for link in batch["links"]]
    assert sorted(linked) == sorted(span["id"] for span in receiver.named("POST /v1/events"))
    assert any(len(batch["links"]) > 1 for batch in batches)
    for batch in batches:  # two events of each request, and rows that their starts share
        requests = len(batch["links"])
        assert 2 * requests < batch["db.operation.batch.size"] <= 3 * requests


def test_the_callers_decision_is_kept_and_the_ratio_is_that_of_the_variable(
    cassandra: Cluster, keyspace: str
) -> None:
    receiver = Receiver()
    ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    with over_http(receiver) as endpoint, traced(cassandra, keyspace, endpoint, **ratio) as service:
        service.ready()
        assert "traceparent" not in post_one(service).headers
        unsampled = post_one(service, traceparent=f"00-{TRACE}-{PARENT}-00")
        assert "traceparent" not in unsampled.headers
        post_one(service, traceparent=f"00-{TRACE}-{PARENT}-01")
        wait_for(lambda: receiver.named("POST /v1/events"), what="the sampled span")
    assert len(receiver.named("POST /v1/events")) == 1


def test_a_refused_or_failed_request_says_so_in_its_span_and_not_the_player(
    cassandra: Cluster, keyspace: str
) -> None:
    receiver = Receiver()
    player = uuid4().hex
    with over_http(receiver) as endpoint, traced(cassandra, keyspace, endpoint) as service:
        assert service.http.get(f"/v1/players/{player}/sessions?limit=99").status_code == 400
        service.http.get(f"/{player}")
        wait_for(lambda: len(receiver.spans) >= 2, what="two spans")
    refused = receiver.named("GET /v1/players/{player_id}/sessions")[0]
    assert (refused["http.response.status_code"], refused["error"]) == (400, False)
    assert player not in repr(receiver.spans)


@pytest.mark.parametrize("receiver", ["closed", "silent"])
def test_a_receiver_that_is_away_or_hangs_costs_spans_and_nothing_else(
    cassandra: Cluster, keyspace: str, receiver: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if receiver == "closed":
            silent.close()
        endpoint = f"http://127.0.0.1:{port}"
        with traced(cassandra, keyspace, endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="1") as service:
            service.ready()
            begun = time.monotonic()
            for _ in range(20):
                post_one(service)
            assert time.monotonic() - begun < 20
            wait_for(lambda: metric(service, DROPPED) > 0, what="lost spans are counted")
            begun = time.monotonic()
            assert service.stop() == 0
            assert time.monotonic() - begun < 25
