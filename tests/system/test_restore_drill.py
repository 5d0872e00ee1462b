"""k8s/restore-drill.sh brings everything back after Cassandra has lost all its data.

Cassandra, nodetool and the script are real. Only kubectl is a double, which runs the commands here.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from dev.cluster import Cluster
from dev.game_events import end, now_ms, start
from dev.service import Server, new_keyspace, run_schema_apply, variables

SCRIPT = Path(__file__).parents[2] / "k8s" / "restore-drill.sh"
POD = "player-sessions-dc1-default-sts-0"
KUBECTL = """#!{python}
import os, sys
words = sys.argv[1:]
if words[0] == "get":
    print("{pod}")
else:
    assert "{pod}" in words and "cassandra" in words, words
    command = words[words.index("--") + 1:]
    if command[0] == "nodetool":
        command = {nodetool} + command[1:]
    os.execvp(command[0], command)
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return the variables with which the script finds the double and the node's files."""
    programs = tmp_path / "programs"
    programs.mkdir()
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "DATA": str(tmp_path / "cluster" / "node1" / "data"),
        "KEYSPACE": new_keyspace(),
    }


def drill(cluster: Cluster, environ: dict[str, str], *arguments: str) -> str:
    nodetool = cluster.nodetool_command()
    double = Path(environ["PATH"].partition(os.pathsep)[0]) / "kubectl"
    double.write_text(KUBECTL.format(python=sys.executable, pod=POD, nodetool=nodetool))
    double.chmod(0o755)
    done = subprocess.run(["sh", SCRIPT, *arguments], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout.splitlines()[-1]


def test_what_was_saved_is_read_from_a_new_cluster(tmp_path: Path, environ: dict[str, str]) -> None:
    keyspace, folder, now = environ["KEYSPACE"], str(tmp_path / "saved"), now_ms()
    players = [uuid.uuid4() for _ in range(20)]
    late = uuid.uuid4()
    with Cluster(tmp_path / "cluster", auth=True) as cluster:
        run_schema_apply(cluster, keyspace)
        with Server(variables(cluster, keyspace)) as service:
            service.ready()
            for player in players:
                session = uuid.uuid4()
                answer = service.post(
                    start(player, session, now - 60_000), end(player, session, now)
                )
                assert answer.status_code == 200
            before = [service.sessions(player) for player in players]
            assert all(before)
            saved = drill(cluster, environ, "save", folder)
            session = uuid.uuid4()
            service.post(start(late, session, now - 60_000), end(late, session, now))
    assert saved.endswith("SSTables of 1 nodes")
    cluster.wipe()
    with cluster:
        run_schema_apply(cluster, keyspace)
        with Server(variables(cluster, keyspace)) as service:
            service.ready()
            assert service.sessions(players[0]) == []
            imported = drill(cluster, environ, "restore", folder)
            assert imported.endswith("tables on 1 nodes")
            assert [service.sessions(player) for player in players] == before
            assert service.sessions(late) == []  # a backup holds what was there when it was made
            assert service.player(players[0])["latest_session"] is not None
