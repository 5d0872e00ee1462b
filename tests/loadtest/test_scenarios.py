"""Run the scenarios as processes, on the real service and on a double with known limits."""

from __future__ import annotations

import csv
import re
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dev.service import Server, wait_for
from loadtest import dataset
from loadtest.journal import Reading
from loadtest.tally import OUTCOMES
from loadtest.target import KEY_VARIABLE
from tests.loadtest.commands import ROOT, Done, audit, command, load, result
from tests.loadtest.double import Double, running

# These tests must not depend on how fast a busy machine is.
LENIENT = "[all]\np90_ms = 60000\n"
QUICK = ("--rate", "15", "--session-seconds", "0.5", "--players", "300")
ALL_READS = ("--presence", "0.3", "--one-session", "0.3", "--countries", "0.1")
REAL = {  # scenario and options of each run; they run all at once to save time
    "steady": ("steady", *QUICK, "-u", "4", "-t", "4s", "--processes", "2", "--seed", "known"),
    "spike": ("spike", *QUICK, "-u", "1", "--before", "1.5", "--spike", "2", "--after", "2.5"),
    "readers": ("readers", *ALL_READS, "-u", "1", "-t", "5s", "--players", "5", "--prepare", "5"),
    "soak": ("soak", "-u", "2", "-t", "5s", "--day", "1.5", "--rate", "20"),
    "replay": ("replay", "FILE", "-u", "2", "--rebase", "--rate", "10"),
}


READ_ROUTES = (
    "/v1/players/{player_id}/sessions",
    "/v1/players/{player_id}",
    "/v1/players/{player_id}/sessions/{session_id}",
    "/v1/countries/starts",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loads")


@pytest.fixture(scope="module")
def done(server: Server, folder: Path) -> dict[str, Done]:
    """Make all real runs, with thresholds that a busy machine holds too."""
    file, limits = folder / "events.jsonl.bz2", folder / "lenient.toml"
    limits.write_text(LENIENT)
    made = dataset.events(dataset.parser().parse_args(["--sessions", "300", "--players", "20"]))
    with dataset.opened(str(file)) as output:
        output.writelines(dataset.lines(made, 1))

    def run(name: str) -> Done:
        scenario, *options = [str(file) if word == "FILE" else word for word in REAL[name]]
        out = folder / name
        if scenario == "replay":
            options = ["--file", *options]
        return load(scenario, server.url, out, "--thresholds", str(limits), *options)

    with ThreadPoolExecutor(len(REAL)) as pool:
        return dict(zip(REAL, pool.map(run, REAL), strict=True))


def seconds(out: Path, kind: str) -> list[dict[str, int]]:
    """Return the outcomes of one kind of request in each second, from the CSV file."""
    with (out / "seconds.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == kind]
    assert rows
    return [{outcome: int(row[outcome]) for outcome in OUTCOMES} for row in rows]


@pytest.mark.parametrize("name", REAL)
def test_what_each_scenario_sends_is_acknowledged_and_proven(
    done: dict[str, Done], server: Server, folder: Path, name: str
) -> None:
    assert done[name].returncode == 0, done[name].stderr
    audited = audit(server.url, folder / name)
    assert audited.returncode == 0, audited.stdout + audited.stderr
    (acknowledged,) = re.findall(r"([\d,]+) events acknowledged", audited.stdout)
    assert int(acknowledged.replace(",", "")) > 10


def test_workers_have_journals_of_their_own_and_one_report(
    done: dict[str, Done], folder: Path
) -> None:
    out = folder / "steady"
    assert [path.name for path in sorted(out.glob("*.journal"))] == [
        "known-0.journal",
        "known-1.journal",
    ]
    journaled = [len(list(reading)) for reading in Reading.all([out])]
    assert all(journaled)
    assert sum(rows["acknowledged"] + rows["shed"] + rows["failed"]
               for rows in seconds(out, "write")) == sum(journaled)  # fmt: skip
    assert sum(rows["acknowledged"] for rows in seconds(out, "write")) > 0
    assert re.search(r"used \d\d+ µs of processor time per request", done["steady"].stderr)


def test_a_run_leaves_html_csv_and_a_plot(done: dict[str, Done], folder: Path) -> None:
    out = folder / "steady"
    assert "/v1/events" in (out / "report.html").read_text()
    assert (out / "requests.csv").read_text().count("\n") == 4  # head, write, read, total
    assert sum(rows["acknowledged"] for rows in seconds(out, "read")) > 0
    assert ElementTree.parse(out / "plot.svg").getroot().tag.endswith("svg")


def test_the_spike_is_seen_and_so_is_the_recovery(done: dict[str, Done], folder: Path) -> None:
    arrivals = [sum(rows[o] for o in OUTCOMES) for rows in seconds(folder / "spike", "write")]
    assert min(arrivals) < 25  # 15 a second are due, and 150 in the spike
    assert max(arrivals) > 75
    assert result(folder / "spike")["figures"]["recovery"]["seconds"] >= 0
    assert re.search(r"^recovered \d+ s after the spike's end", done["spike"].stderr, re.MULTILINE)


def requests(out: Path) -> dict[str, tuple[int, int]]:
    """Return how many requests of each route there were, and how many failed."""
    with (out / "requests.csv").open() as file:
        return {
            row["Name"]: (int(row["Request Count"]), int(row["Failure Count"]))
            for row in csv.DictReader(file)
        }


def test_readers_call_every_route_and_no_call_fails(done: dict[str, Done], folder: Path) -> None:
    figures = result(folder / "readers")["figures"]["read"]
    assert figures["requests_per_second"] > 0
    assert figures["error_rate"] == 0
    sent = requests(folder / "readers")
    for route in READ_ROUTES:
        assert sent[route][0] > 0


def test_soak_compares_its_days(done: dict[str, Done], folder: Path) -> None:
    assert result(folder / "soak")["figures"]["drift"]["p90_ratio"] > 0


def test_a_replay_sends_each_event_of_the_file_once(done: dict[str, Done], folder: Path) -> None:
    (reading,) = Reading.all([folder / "replay"])
    # Shed batches were sent again.
    tokens = {token for line in reading if line.acknowledged for token in line.tokens}
    lines = [range(*map(int, token.split("-"))) for token in tokens]
    assert sorted(number for span in lines for number in [*span, span.stop]) == list(
        range(1, 1 + sum(len(span) + 1 for span in lines))
    )
    assert 560 < sum(len(span) + 1 for span in lines) <= 600


@pytest.fixture
def double() -> Iterator[Double]:
    with running(Double()) as made:
        yield made


LIMITED: dict[str, tuple[Double, str]] = {  # doubles with known limits, each with its load
    "frozen": (Double(), "steady -u 1 -t 4s --rate 30 --connections 200"),
    "narrow": (  # 10 requests a second
        Double(seconds_per_request=0.1),
        "steady -u 1 -t 3s --rate 40 --connections 1",
    ),
    "ramp": (  # 25 requests a second; 1 user sends 8, 3 send 24, 5 send 40
        Double(seconds_per_request=0.04),
        "ramp -u 1 --rate 8 --factor 2.2 --steps 4 --step-seconds 2 --knee-ms 400 --connections 10",
    ),
}


@pytest.fixture(scope="module")
def limited(folder: Path) -> dict[str, Done]:
    """Run the loads of LIMITED with the scenarios' own thresholds."""

    def freeze(double: Double) -> None:
        wait_for(lambda: double.batches > 5, what="the load has begun")
        double.frozen_until = time.monotonic() + 3

    def run(name: str) -> Done:
        double, words = LIMITED[name]
        scenario, *options = words.split()
        with running(double):
            if name == "frozen":
                threading.Thread(target=freeze, args=[double]).start()
            key = {KEY_VARIABLE: "a-key"}
            made = load(scenario, double.url, folder / name, "--reads", "0", *options, **key)
            assert audit(double.url, folder / name, **key).returncode == 0
        return made

    *together, ramp = LIMITED
    with ThreadPoolExecutor(len(together)) as pool:
        done = dict(zip(together, pool.map(run, together), strict=True))
    return {**done, ramp: run(ramp)}  # alone, because its short steps must not be disturbed


def test_latency_counts_from_when_a_request_was_due(limited: dict[str, Done], folder: Path) -> None:
    """Count a stall in all requests that were due meanwhile, not only in the first one."""
    run, figures = limited["frozen"], result(folder / "frozen")["figures"]["all"]
    assert run.returncode == 1
    assert "BREACHED steady.toml:3: [all] p90_ms = 500: measured " in run.stderr
    assert figures["p50_ms"] > 400  # a closed loop would have a single slow request
    assert figures["missed_rate"] == 0


def test_arrivals_that_find_the_pool_full_are_counted_and_breach(
    limited: dict[str, Done], folder: Path
) -> None:
    run, figures = limited["narrow"], result(folder / "narrow")["figures"]["all"]
    assert run.returncode == 1
    said = r"BREACHED steady.toml:7: \[all\] missed_rate = 0.001: measured 0.\d"
    assert re.search(said, run.stderr)
    assert 0.6 < figures["missed_rate"] < 0.95  # 10 of 40 a second find the connection free


def test_the_ramp_names_the_knee(limited: dict[str, Done], folder: Path) -> None:
    run, knee = limited["ramp"], result(folder / "ramp")["figures"]["knee"]
    assert run.returncode == 1
    assert "BREACHED ramp.toml:3: [knee] min_events_per_second = 500: measured " in run.stderr
    assert re.search(r"knee: \d+ events/s in \d+ requests/s \(\d users\) at p90", run.stderr)
    assert knee["users"] in (1, 3)


def test_the_key_is_sent_by_load_and_audit(limited: dict[str, Done]) -> None:
    for double, _ in LIMITED.values():
        assert set(double.keys) == {"Bearer a-key"}


READERS = ("readers", "-u", "1", "-t", "4s", "--prepare", "5", "--reads", "0.9")


def test_readers_ask_again_while_starts_are_counted(tmp_path: Path) -> None:
    with running(Double(counting=2)) as double:
        load(READERS[0], double.url, tmp_path, *READERS[1:], "--countries", "0.3")
    figures, sent = result(tmp_path)["figures"]["read"], requests(tmp_path)
    assert (figures["error_rate"], figures["shed_rate"]) == (0, 0)
    assert sent["/v1/countries/starts (still counting)"] == (2, 0)
    assert sent["/v1/countries/starts"][0] > 0


def test_readers_miss_a_stored_session_and_expect_an_unknown_one_to_be_missing(
    tmp_path: Path,
) -> None:
    route = "/v1/players/{player_id}/sessions/{session_id}"
    shares = ("--presence", "0", "--countries", "0", "--one-session", "1")
    with running(Double(alone="missing")) as double:
        run = load(READERS[0], double.url, tmp_path, *READERS[1:], *shares)
    asked, failed = requests(tmp_path)[route]
    assert 0 < failed < asked
    assert run.returncode == 1
    assert "[read] error_rate" in run.stderr


def test_shares_of_reads_above_all_are_refused(tmp_path: Path) -> None:
    shares = ("--presence", "0.6", "--one-session", "0.6")
    bad = load("readers", "http://127.0.0.1:9", tmp_path / "out", *shares)
    assert bad.returncode == 2
    assert "--presence, --one-session and --countries are shares" in bad.stderr


@contextmanager
def web_page(out: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run Locust with its web page; yield the process and the page's address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    web = ("--web-host", "127.0.0.1", "--web-port", str(port))
    with subprocess.Popen(
        [sys.executable, "-m", "loadtest", "steady", "--out", str(out), *web, *options],
        cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def page(url: str) -> str:
    try:
        return httpx.get(url, timeout=60).text
    except httpx.TransportError:
        return ""


def ended(process: subprocess.Popen[str]) -> str:
    """Send SIGTERM and return what the process wrote to standard error."""
    process.terminate()
    return process.communicate(timeout=60)[1]


def test_the_web_page_has_our_options_and_its_runs_are_judged(
    double: Double, tmp_path: Path
) -> None:
    with (
        web_page(tmp_path / "idle") as (idle, other),
        web_page(tmp_path / "out", "--warm-up", "0") as (process, url),
    ):
        assert '"session_seconds"' in wait_for(lambda: page(url), what="the web page")
        form = {"user_count": 2, "spawn_rate": 100, "host": double.url, "rate": 30.0}
        assert httpx.post(f"{url}/swarm", data=form, timeout=60).json()["success"]
        wait_for(lambda: double.batches > 40, what="the load goes on")
        assert httpx.post(f"{url}/stop", timeout=60).json()["success"]
        said = ended(process)
        assert "held: " in said or "BREACHED " in said  # the result depends on the machine
        assert process.returncode == int("BREACHED " in said)
        wait_for(lambda: page(other), what="the other web page")
        ended(idle)
        assert idle.returncode == 0
        assert not (tmp_path / "idle").exists()  # no run, so no report


@pytest.fixture
def limits(tmp_path: Path) -> Path:
    """Return a file of thresholds that a busy machine holds too."""
    made = tmp_path / "lenient.toml"
    made.write_text(LENIENT)
    return made


def test_a_slash_at_the_end_of_the_host_is_no_part_of_the_paths(
    double: Double, tmp_path: Path, limits: Path
) -> None:
    options = ("-u", "1", "-t", "3s", "--thresholds", str(limits), *QUICK)
    run = load("steady", f"{double.url}/", tmp_path / "out", *options)
    assert run.returncode == 0, run.stderr
    assert double.batches
    assert audit(f"{double.url}/", tmp_path / "out").returncode == 0


def test_two_runs_on_one_machine_keep_their_own_workers(
    double: Double, tmp_path: Path, limits: Path
) -> None:
    options = ("-u", "2", "-t", "2s", "--processes", "2", "--thresholds", str(limits), *QUICK)

    def run(seed: str) -> Done:
        return load("steady", double.url, tmp_path / seed, *options, "--seed", seed)

    seeds = ("one", "two")
    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(run, seeds):
            assert done.returncode == 0, done.stderr
    for seed in seeds:
        journals = sorted(path.name for path in (tmp_path / seed).glob("*.journal"))
        assert journals == [f"{seed}-0.journal", f"{seed}-1.journal"]


def test_options_that_cannot_work_are_reported_before_the_load(tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("[all]\np95_ms = 1\n")
    bad = load("steady", "http://127.0.0.1:9", tmp_path / "out", "--thresholds", str(limits))
    assert bad.returncode == 2
    assert "[all] p95_ms is none of" in bad.stderr
    assert not (tmp_path / "out").exists()


def test_the_list_of_scenarios_is_that_of_the_folder() -> None:
    listed = command("loadtest", "--help")
    assert listed.returncode == 0
    for name in ("steady", "ramp", "spike", "soak", "readers", "replay"):
        assert re.search(rf"^  {name} +\w", listed.stdout, re.MULTILINE)
    assert command("loadtest", "stedy").returncode == 2
    homeless = command("loadtest", "steady", "--headless")
    assert homeless.returncode == 2
    assert "say which service: --host" in homeless.stderr
