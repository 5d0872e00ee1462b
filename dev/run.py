"""`make run`: a Cassandra, its schema, and the service, until Ctrl-C. Standard library only.

With PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS set no Cassandra is started: that one is used.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from dev import toolchain
from dev.cluster import Cluster, NodeFailed, end_with_parent
from dev.toolchain import MissingTool, say

COMMAND = Path(sys.executable).parent / "player-sessions"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """A signal asked for the end."""


def stop(signum: int, _: object) -> None:
    for each in STOPS:
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(signal.Signals(signum).name)


def main() -> int:
    """The exit code: 0 when stopped by a signal."""
    for each in STOPS:
        signal.signal(each, stop)
    cluster: Cluster | None = None
    try:
        if bad_settings := run("settings", "--check"):
            return bad_settings
        if "PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS" not in os.environ:
            port = int(os.environ.get("PLAYER_SESSIONS_CASSANDRA_PORT", "9042"))
            cluster = Cluster(toolchain.HOME / "run", native_port=port)
            say(f"starting Cassandra at 127.0.0.1:{port}; its data: {cluster.folder}")
            cluster.start()
        code = run("schema", "apply")
        if code:
            return code
        say("serving; Ctrl-C ends it. Try the page at /docs, or the lines of README.md")
        return run("serve")
    except Stopped:
        return 0
    except BlockingIOError:
        say("`make run` runs here already: stop it first, or set PLAYER_SESSIONS_DEV_HOME")
    except (MissingTool, NodeFailed) as error:
        say(str(error))
    finally:
        if cluster is not None:
            say("stopping Cassandra")
            cluster.stop()
    return 1


def run(*arguments: str) -> int:
    """The command's exit code; when we are stopped it is stopped first."""
    process = subprocess.Popen(
        [COMMAND, *arguments],
        start_new_session=True,  # a terminal's Ctrl-C is for us, who stop it in order
        preexec_fn=end_with_parent(os.getpid()),
    )
    try:
        return process.wait()
    except Stopped:
        process.terminate()
        process.wait()
        raise


if __name__ == "__main__":
    sys.exit(main())
