"""The development Cassandra keeps its data, shares nothing by accident, and ends completely."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dev import toolchain
from dev.cluster import STOP_SECONDS, Cluster, NodeFailed
from dev.service import wait_for
from player_sessions.store.cluster import build_cluster
from tests.support import settings_of

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "dev" / "cluster.py"


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def ask(cluster: Cluster, cql: str) -> list[Any]:
    driver = build_cluster(settings_of(cluster, "unused"))
    try:
        return list(driver.connect().execute(cql))
    finally:
        driver.shutdown()


def test_data_survive_a_stop_and_a_kill_until_they_are_wiped(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster:
        simple = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        ask(cluster, f"CREATE KEYSPACE k WITH replication = {simple}")
        ask(cluster, "CREATE TABLE k.t (a int PRIMARY KEY)")
        ask(cluster, "INSERT INTO k.t (a) VALUES (1)")
        cluster.kill_node(1)
        cluster.start_node(1)
        assert ask(cluster, "SELECT a FROM k.t") == [(1,)]
        with pytest.raises(BlockingIOError):
            Cluster(tmp_path).start()
        with pytest.raises(BlockingIOError):
            Cluster(tmp_path).wipe()
    with Cluster(tmp_path) as again:
        assert again.native_port == cluster.native_port
        assert ask(again, "SELECT a FROM k.t") == [(1,)]
    again.wipe()
    assert not list(tmp_path.glob("node*"))


def test_three_nodes_make_one_cluster_with_a_rack_each(tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=3) as cluster:
        status = cluster.nodetool("status")
        up = [line.split() for line in status.splitlines() if line.startswith("UN")]
        assert sorted((words[1], words[-1]) for words in up) == [
            ("127.0.0.1", "r1"),
            ("127.0.0.2", "r2"),
            ("127.0.0.3", "r3"),
        ]


def test_a_taken_port_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dev.cluster.PORT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NodeFailed, match="PLAYER_SESSIONS_CASSANDRA_PORT"):
            Cluster(tmp_path, native_port=port).start()


def test_a_cluster_takes_other_ports_than_one_that_is_about_to_start(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "ports.json").write_text("[20000, 20020, 20040]")
    starting, later = Cluster(first), Cluster(second)
    assert starting.native_port == later.native_port
    try:
        starting._hold()
        later._hold()
        assert starting.native_port != later.native_port
    finally:
        starting.stop()
        later.stop()


def test_a_node_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(NodeFailed, match="nonsense"):
        Cluster(tmp_path, yaml={"nonsense": 1}).start()


def test_the_configuration_is_k8ssandras_but_for_the_commit_log(tmp_path: Path) -> None:
    strict = Cluster(tmp_path)._configuration(1)
    assert (strict["commitlog_sync"], strict["commitlog_disk_access_mode"]) == ("batch", "mmap")
    assert "commitlog_sync_period" not in strict
    relaxed = Cluster(tmp_path, relaxed=True, auth=True)._configuration(1)
    assert (relaxed["commitlog_sync"], relaxed["commitlog_sync_period"]) == ("periodic", "10000ms")
    assert relaxed["authenticator"]["class_name"] == "PasswordAuthenticator"
    assert strict["storage_compatibility_mode"] == "NONE"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_node_ends_with_the_command_that_started_it(tmp_path: Path, signum: int) -> None:
    command = [sys.executable, str(SCRIPT), "run", "--port", "0", "--folder", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = list(itertools.takewhile(lambda line: "answers" not in line, process.stderr))
            assert process.poll() is None, said
            (java,) = children(process.pid)
            assert alive(java)
            process.send_signal(signum)
            wait_for(lambda: not alive(java), seconds=2 * STOP_SECONDS, what="Cassandra has ended")
            process.wait(30)
        finally:
            process.kill()
    assert process.returncode in (0, -signum)


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


@pytest.mark.parametrize("command", ["run", "nodetool", "wipe", "setup"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    run = subprocess.run(
        [sys.executable, SCRIPT, command, "--help"], capture_output=True, text=True
    )
    assert run.returncode == 0
    assert "Example: " in run.stdout


@pytest.mark.parametrize("variable", ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"])
def test_the_version_of_java_is_found_behind_what_else_it_says(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "-Dname=value")
    assert re.fullmatch(r"17\.[\d.]+\S*", toolchain.java_version(toolchain.java()))
    assert toolchain.java_version(Path("/bin/false")) == ""


def test_without_a_java_17_the_packaged_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jars = toolchain.jars()
    monkeypatch.setattr(toolchain, "HOME", tmp_path)
    (tmp_path / "jars").symlink_to(jars)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    java = toolchain.java()
    assert tmp_path in java.parents
    assert toolchain.java_version(java).startswith("17.")
    with Cluster(tmp_path / "data") as cluster:
        assert ask(cluster, "SELECT release_version FROM system.local") == [("5.0.9",)]
        with pytest.raises(toolchain.MissingTool, match=r"jdk\.naming\.rmi"):
            cluster.nodetool("status")


def test_without_maven_and_without_apt_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "HOME", tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(toolchain.MissingTool) as missing:
        toolchain.jars()
    assert "docker run -d -p 9042:9042 cassandra:5.0" in str(missing.value)
    assert "PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS" in str(missing.value)
    assert not list(tmp_path.glob("jars*/"))


def test_as_root_with_apt_maven_is_installed_after_saying_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # A double of apt-get that "installs" a failing mvn: the real one is on this path already.
    apt = tmp_path / "apt-get"
    apt.write_text(f"#!/bin/sh\necho apt-get $1\nprintf '#!/bin/false' > {tmp_path}/mvn\n")
    apt.write_text(apt.read_text() + f"/bin/chmod +x {tmp_path}/mvn\n")
    apt.chmod(0o755)
    monkeypatch.setattr(toolchain, "HOME", tmp_path / "home")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(toolchain.MissingTool, match="Maven could not fetch"):
        toolchain.jars()
    said = capfd.readouterr().err
    assert said.index("installing it with") < said.index("apt-get update")
    assert "apt-get install" in said


def test_a_missing_program_of_the_tests_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert toolchain.main() == 1
    assert capfd.readouterr().err == "install chromium (Debian: apt install chromium)\n"
