"""Failures of the service's own process and of its machine, while the store works."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import COMMAND, Server, freeze, variables, wait_for
from loadtest.bench.generator import cpu_seconds
from loadtest.faults.judge import judge
from loadtest.faults.traffic import Load
from loadtest.overload.load_loops import open_loop
from loadtest.overload.proxy import proxy
from loadtest.own_service import memory_mib
from tests.batch_load import batches

MEMORY_MIB = 256
CONNECTIONS = 9_900  # with the test's own, they stay below the default limit of 10,000
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def metric(url: str, series: str) -> float:
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if line.startswith(series + " "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no such series: {series}")


def works(service: Server) -> bool:
    player, session, now = uuid4(), uuid4(), now_ms()
    answer = service.post(start(player, session, now - 1000), end(player, session, now))
    return answer.status_code == 200 and len(service.sessions(player)) == 1


def address(service: Server) -> tuple[str, int]:
    return "127.0.0.1", int(service.url.rpartition(":")[2])


def test_ending_the_service_in_the_middle_of_batches_loses_nothing(
    cassandra: Cluster, keyspace: str, tmp_path: Path
) -> None:
    service = Server(variables(cassandra, keyspace)).ready()
    same_port = variables(cassandra, keyspace, HTTP_PORT=str(address(service)[1]))
    load = Load([service.url], tmp_path)
    load.start()
    try:
        for how, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 0), (signal.SIGKILL, -9)):
            time.sleep(1)
            service.process.send_signal(how)
            assert service.process.wait(30) == code
            service.kill()
            service = Server(same_port).ready()
        time.sleep(1)
    finally:
        load.stop()
    verdict = judge(load, service.url)
    service.stop()
    assert load.errors()["torn"], "no request was cut off, so the test tested nothing"
    assert verdict.acknowledged > 300
    assert (verdict.lost, verdict.wrong, verdict.first) == (0, 0, [])


def test_without_file_descriptors_it_serves_open_connections_and_recovers(
    cassandra: Cluster, keyspace: str
) -> None:
    with Server(variables(cassandra, keyspace)).ready() as service, ExitStack() as stack:
        assert works(service)
        used = len(os.listdir(f"/proc/{service.process.pid}/fd"))
        _, hard = resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (used + 5, hard))
        crowd = [stack.enter_context(socket.create_connection(address(service))) for _ in range(50)]
        for _ in range(20):
            assert works(service), "an open connection must go on working"
            time.sleep(0.05)
        begun = os.times().elapsed, cpu_seconds(service.process.pid)
        time.sleep(1)
        spent = cpu_seconds(service.process.pid) - begun[1]
        assert spent < 0.5 * (os.times().elapsed - begun[0]), "the service spins"
        assert len(service.lines) < 100
        for connection in crowd:
            connection.close()
        wait_for(lambda: httpx.get(f"{service.url}/health/live").is_success, what="new connections")
        assert works(service)


def test_a_full_disk_of_the_log_does_not_disturb_clients(cassandra: Cluster, keyspace: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = variables(cassandra, keyspace, HTTP_PORT=str(port), LOG_LEVEL="DEBUG")
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen([COMMAND, "serve"], env=os.environ | environ, stderr=full)
    url = f"http://127.0.0.1:{port}"
    try:

        def ready() -> bool:
            assert process.poll() is None, "the service ended"
            try:
                return httpx.get(f"{url}/health/ready").is_success
            except httpx.TransportError:
                return False

        wait_for(ready, what="the service is ready")
        player, session, now = uuid4(), uuid4(), now_ms()
        events = [start(player, session, now - 1000), end(player, session, now)]
        assert httpx.post(f"{url}/v1/events", json={"events": events}).status_code == 200
        assert httpx.post(f"{url}/v1/events", json={"events": []}).status_code == 422
        assert len(httpx.get(f"{url}/v1/players/{player}/sessions").json()["sessions"]) == 1
        assert metric(url, "player_sessions_log_lines_suppressed_total") > 0
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_stalled_event_loop_is_counted_and_logged(cassandra: Cluster, keyspace: str) -> None:
    with Server(variables(cassandra, keyspace)).ready() as service:
        before = metric(service.url, "player_sessions_event_loop_stalls_total")
        freeze(service.process.pid)
        time.sleep(1.5)
        service.process.send_signal(signal.SIGCONT)
        wait_for(
            lambda: metric(service.url, "player_sessions_event_loop_stalls_total") > before,
            what="the stall is counted",
        )
        assert max(line["seconds"] for line in service.logged("the event loop was late")) > 0.9
        assert works(service)


def test_ten_thousand_idle_connections_leave_room_for_work(
    cassandra: Cluster, keyspace: str
) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with Server(variables(cassandra, keyspace)).ready() as service, ExitStack() as stack:
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(address(service)))
            connection.sendall(LIVE)  # else the service closes it: no head
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert metric(service.url, "player_sessions_connections") >= CONNECTIONS
        took = []
        for _ in range(50):
            begun = time.monotonic()
            assert works(service)
            took.append(time.monotonic() - begun)
        assert sorted(took)[len(took) // 2] < 0.5
        assert memory_mib(service.process.pid, "VmHWM") < MEMORY_MIB


@contextmanager
def memory_limited(pid: int) -> Iterator[None]:
    """Limit the process's memory by a cgroup, if we may make one."""
    group = Path(f"/sys/fs/cgroup/memory/player-sessions-{pid}")
    if not os.access(group.parent, os.W_OK):
        yield
        return
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(f"{MEMORY_MIB}M")
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        (group.parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def test_five_times_its_capacity_fits_into_256_mib(cassandra: Cluster, keyspace: str) -> None:
    source = batches()
    head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    requests = [head % len(body) + body for _, body in (next(source) for _ in range(200))]
    with proxy((cassandra.address(1), cassandra.native_port)) as slow:
        environ = variables(cassandra, keyspace, CASSANDRA_PORT=str(slow.port))
        with Server(environ).ready() as service, memory_limited(service.process.pid):
            slow.bytes_per_second = 20 * 10 * 95  # about 20 batches per second
            outcome = asyncio.run(open_loop(address(service)[1], requests, 100, 5))
            slow.bytes_per_second = None
            assert service.process.poll() is None, "the service was killed"
            assert set(outcome.statuses) == {200, 503}
            assert outcome.statuses[503] > outcome.statuses[200] > 0
            assert (outcome.torn, outcome.without_retry_after) == (0, 0)
            assert memory_mib(service.process.pid, "VmHWM") < MEMORY_MIB
            wait_for(lambda: works(service), what="requests work")
