"""A real Prometheus scrapes the real service under load; every query returns data."""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import yaml

from dev import toolchain
from dev.cluster import Cluster
from dev.game_events import DAY_MS, end, now_ms, start
from dev.grafana import FIRING
from dev.service import Server, variables, wait_for
from tests.batch_load import post_for
from tests.operations.test_alert_rules import RULES
from tests.operations.test_dashboard import MADE, PANELS

LOAD_SECONDS = 8
JOB = "player-sessions"
# Grafana's variables: one job, every instance, and an interval of several scrapes.
VALUES = {"$namespace": ".*", "$job": JOB, "$instance": ".*", "$__rate_interval": "5s"}
# Shorten the rules' windows, of up to 3 days, to the length of the test.
RULES_OF_SECONDS = re.sub(r"\[\w+\]", "[5s]", RULES.read_text())
RULE_LIST = [r for group in yaml.safe_load(RULES_OF_SECONDS)["groups"] for r in group["rules"]]


class Prometheus:
    """A Prometheus that scrapes `target` and evaluates the rules each half second."""

    def __init__(self, folder: Path, target: str) -> None:
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [target]}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "rules.yaml").write_text(RULES_OF_SECONDS)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    toolchain.program("prometheus", "prometheus"),
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stderr=log,
            )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[float]:
        """Return the values of an instant query's series without NaN."""
        answer = self.http.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", answer
        values = [float(series["value"][1]) for series in answer["data"]["result"]]
        return [value for value in values if not math.isnan(value)]

    def rules(self) -> list[dict[str, Any]]:
        groups = self.http.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(30)


def everything(server: Server) -> None:
    """Make each kind of request once: both contracts, both routes, good, old and bad events."""
    player, session, now = uuid4(), uuid4(), now_ms()
    old = start(player, uuid4(), now - 400 * DAY_MS)
    orphan = end(player, uuid4(), now)
    backward = uuid4()
    events = [
        start(player, session, now - 5000), end(player, session, now), old, orphan,
        start(player, backward, now), end(player, backward, now - 1000),
    ]  # fmt: skip
    assert server.post(*events).status_code == 200
    assert server.http.post("/", json={"rows": events}).status_code == 200
    assert len(server.sessions(player)) == 2
    assert server.session(player, session) is not None
    assert server.player(player)["latest_session"] is not None
    body = json.dumps({"player_id": player.hex})
    assert server.http.request("GET", "/", content=body).status_code == 200
    assert server.http.get("/v1/countries/starts").status_code in (200, 503)
    assert server.post({**orphan, "event": "begin"}).status_code == 422
    assert server.http.get("/nowhere").status_code == 404


@pytest.fixture(scope="module")
def prometheus(
    cassandra: Cluster, keyspace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Run a Prometheus and a load until the tests are over."""
    with Server(variables(cassandra, keyspace)) as server:
        target = urlsplit(server.ready().url).netloc
        running = Prometheus(tmp_path_factory.mktemp("prometheus"), target)
        done = threading.Event()

        def load() -> None:
            while not done.is_set():
                asyncio.run(post_for(server.url, connections=4, seconds=1))
                everything(server)

        loading = threading.Thread(target=load)
        try:
            wait_for(running.ready, what="Prometheus is ready")
            loading.start()
            time.sleep(LOAD_SECONDS)
            assert loading.is_alive()
            yield running
        finally:
            done.set()
            loading.join()
            running.stop()


QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}: {target['legendFormat']}")
    for panel in PANELS
    for target in panel["targets"]
]


@pytest.mark.parametrize("expression", QUERIES)
def test_every_query_of_the_dashboard_returns_data(prometheus: Prometheus, expression: str) -> None:
    for variable, value in VALUES.items():
        expression = expression.replace(variable, value)
    assert prometheus.query(expression), expression


def test_the_variables_of_the_dashboard_find_their_values(prometheus: Prometheus) -> None:
    for variable in MADE["templating"]["list"][1:]:
        asked = re.fullmatch(r"label_values\((\w+)\{.*\},(\w+)\)", variable["definition"])
        assert asked is not None
        if asked[2] != "namespace":  # only Kubernetes sets this label
            assert prometheus.query(f"count by ({asked[2]}) ({asked[1]})") == [1]
    assert prometheus.query(FIRING) == []


@pytest.mark.parametrize("rule", RULE_LIST, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_has_data_to_judge(prometheus: Prometheus, rule: dict[str, str]) -> None:
    # A comparison returns nothing when all is well; with `bool` it returns 0 or 1.
    expression = (
        re.sub(r" (>|==) ", r" \1 bool ", rule["expr"]) if "alert" in rule else rule["record"]
    )
    assert prometheus.query(expression), expression


def test_prometheus_takes_all_rules_and_no_alert_fires_while_all_is_well(
    prometheus: Prometheus,
) -> None:
    rules = prometheus.rules()
    assert len(rules) == len(RULE_LIST)
    assert [rule for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []
