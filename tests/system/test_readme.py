"""`make run` and the README's commands work exactly as printed and leave no process behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev import toolchain
from dev.service import PREFIX, inherited, wait_for

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
PRINTED = "http://127.0.0.1:8080"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Run:
    """`make run` in a session of its own, as a terminal has it."""

    def __init__(self, folder: Path, **variables: str) -> None:
        if not (folder / "jars").exists():
            (folder / "jars").symlink_to(toolchain.jars())
        self.port = free_port()
        given = {"DEV_HOME": str(folder), "HTTP_PORT": str(self.port), **variables}
        self.log = folder / "make-run.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["make", "-s", "run"],
                cwd=ROOT,
                env=inherited() | {PREFIX + name: value for name, value in given.items()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ready(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return httpx.get(f"http://127.0.0.1:{self.port}/health/ready").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(answers, seconds=90, what="`make run` is ready")

    def members(self) -> dict[int, str]:
        """Return the command lines of the processes of `make run` that still exist, by pid."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"HTTP_PORT={self.port}\0".encode() in path.read_bytes():
                    command = (path.parent / "cmdline").read_text().replace("\0", " ")
                    found[int(path.parent.name)] = command[:80]
            except OSError:
                continue
        return found

    def signal_all(self, signum: int) -> None:
        """Send a signal to all processes, as a terminal does for Ctrl-C."""
        os.killpg(self.process.pid, signum)


@contextmanager
def make_run(folder: Path, **variables: str) -> Iterator[Run]:
    run = Run(folder, **variables)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.signal_all(signal.SIGINT)
        try:
            run.process.wait(60)
        finally:
            run.process.kill()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def blocks() -> list[str]:
    """Return the README's shell blocks that call the service."""
    found = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(found) >= 5
    return [block for block in found if "curl" in block]


def test_the_readmes_lines_do_what_it_says_and_ctrl_c_leaves_nothing(
    home: Path, tmp_path: Path
) -> None:
    port = str(free_port())
    with make_run(home, CASSANDRA_PORT=port) as run:
        run.ready()
        welcome = f"ready: http://127.0.0.1:{run.port} "
        wait_for(lambda: welcome in run.log.read_text(), what="it says where it is")
        answers = []
        for block in blocks():
            # As printed, except for the port, which must be this test's own.
            script = block.replace(PRINTED, f"http://127.0.0.1:{run.port}")
            done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            answers.append(done.stdout)
        posted, read, original, refused = answers
        assert posted == '{"accepted":2,"discarded":0}'
        (session,) = json.loads(read)["sessions"]
        assert (session["country"], session["duration_seconds"]) == ("FI", 3600.0)
        assert original.startswith("POST success{")
        assert json.loads(original.removeprefix("POST success"))["sessions"] == [session]
        problem = json.loads(refused)
        assert problem["status"] == 422
        assert {e["reason"] for e in problem["errors"]} >= {"invalid-event", "missing-field"}

        with make_run(home) as second:
            assert second.process.wait(60) != 0
            assert "runs here already" in second.log.read_text()

        assert len(run.members()) >= 3
        run.signal_all(signal.SIGINT)
        run.process.wait(60)
        wait_for(lambda: not run.members(), what=f"nothing is left of {run.members()}")
    with make_run(home, CASSANDRA_PORT=port) as again:
        again.ready()
        player: Any = json.loads(read)["player_id"]
        url = f"http://127.0.0.1:{again.port}/v1/players/{player}/sessions"
        assert httpx.get(url).json()["sessions"] == [session]
        import_as_the_readme_shows_it(tmp_path, port)


def import_as_the_readme_shows_it(folder: Path, cassandra_port: str) -> None:
    """Make a file and import it in a folder of its own, so that nothing is left in ours."""
    (block,) = [
        b
        for b in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
        if "import" in b
    ]
    done = subprocess.run(
        ["bash", "-euc", block.replace(".venv/bin/", f"{ROOT}/.venv/bin/")],
        cwd=folder,
        env=os.environ | {PREFIX + "CASSANDRA_PORT": cassandra_port, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"read (\d+) = stored \1 \+ discarded 0 \+ rejected 0", done.stdout)


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGKILL])
def test_however_the_launcher_ends_nothing_is_left(home: Path, signum: int) -> None:
    with make_run(home, CASSANDRA_PORT=str(free_port())) as run:
        run.ready()
        (launcher,) = [pid for pid, said in run.members().items() if "dev/run.py" in said]
        os.kill(launcher, signum)
        run.process.wait(60)
        wait_for(lambda: not run.members(), what="nothing is left")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HTTP_PROT", "1", "PLAYER_SESSIONS_HTTP_PROT"),
        ("CASANDRA_PORT", "9043", "PLAYER_SESSIONS_CASANDRA_PORT"),
        ("RETENTION", "soon", "PLAYER_SESSIONS_RETENTION"),
        ("CASSANDRA_PORT", "x", "PLAYER_SESSIONS_CASSANDRA_PORT"),
    ],
)
def test_a_bad_setting_is_named_before_anything_is_started(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    with make_run(tmp_path, **{name: value}) as run:
        assert run.process.wait(60) != 0
        log = run.log.read_text()
    assert said in log
    assert "Traceback" not in log
    assert not (tmp_path / "run" / "node1").exists()


def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with make_run(tmp_path, HTTP_PORT=port) as run:
            assert run.process.wait(60) != 0
            log = run.log.read_text()
    assert f"port {port} of 127.0.0.1 cannot be listened on" in log
    assert "set PLAYER_SESSIONS_HTTP_PORT to another port" in log
    assert not (tmp_path / "run" / "node1").exists()
