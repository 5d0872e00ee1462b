"""`make run`: start a Cassandra, apply the schema and serve, until Ctrl-C.

If PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS is set, no Cassandra is started and that one is used.
Errors that can be known beforehand are reported before anything is fetched or started.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from dev import toolchain
from dev.cluster import Cluster, NodeFailed, ends_with_parent
from dev.toolchain import MissingTool, say
from player_sessions.settings import PREFIX, InvalidSettings, Settings, load

COMMAND = Path(sys.executable).parent / "player-sessions"
PLAYER = "0a2d12a1a7e145de8bae44c0c6e06629"  # the player in the README's example
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """A signal asked the program to stop."""


def stop(signum: int, _: object) -> None:
    for each in STOPS:
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(signal.Signals(signum).name)


def main() -> int:
    """Return the exit code: 0 when a signal stopped it, 2 for bad settings."""
    argparse.ArgumentParser(
        description=__doc__,
        epilog=f"Example: {PREFIX}HTTP_PORT=9000 python dev/run.py",
    ).parse_args()
    for each in STOPS:
        signal.signal(each, stop)
    cluster: Cluster | None = None
    try:
        settings = load(os.environ)
        if not can_listen(settings):
            say(
                f"port {settings.http_port} of {', '.join(settings.http_host)} cannot be listened"
                f" on, perhaps it is taken: set {PREFIX}HTTP_PORT to another port"
            )
            return 1
        if f"{PREFIX}CASSANDRA_CONTACT_POINTS" not in os.environ:
            cluster = Cluster(toolchain.HOME / "run", native_port=settings.cassandra_port)
            say(f"starting Cassandra at 127.0.0.1:{cluster.native_port} (about 10 s)")
            say(f"its data: {cluster.folder}")
            cluster.start()
        return run("schema", "apply") or run("serve", serving=settings)
    except Stopped:
        return 0
    except InvalidSettings as error:
        say(f"bad settings\n{error}")
        return 2
    except BlockingIOError:
        say("`make run` runs here already: stop it first, or set PLAYER_SESSIONS_DEV_HOME")
    except (MissingTool, NodeFailed) as error:
        say(str(error))
    finally:
        if cluster is not None and cluster.running(1):
            say("stopping Cassandra; its data stay (`make wipe` forgets them)")
            cluster.stop()
    return 1


def can_listen(settings: Settings) -> bool:
    try:
        for host in settings.http_host:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.create_server((host, settings.http_port), family=family).close()
    except OSError:
        return False
    return True


def local(settings: Settings) -> str:
    """Return the host name by which this machine reaches the service."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return anywhere.get(settings.http_host[0], settings.http_host[0])


def run(*arguments: str, serving: Settings | None = None) -> int:
    """Run a command and return its exit code; when we are stopped, stop the command first."""
    process = subprocess.Popen(
        ends_with_parent([COMMAND, *arguments]),
        start_new_session=True,  # on Ctrl-C we stop the command in order
    )
    try:
        if serving and serving.http_port:  # with port 0 only the service's log has the port
            welcome(process, local(serving), serving.http_port)
        return process.wait()
    except Stopped:
        process.terminate()
        process.wait()
        raise


def welcome(process: subprocess.Popen[bytes], host: str, port: int) -> None:
    """Wait until the service is ready, then say where it is and what to try."""
    while not is_ready(host, port):
        try:
            process.wait(0.2)
            return
        except subprocess.TimeoutExpired:
            continue
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    say(
        f"\nready: {url} (a page for people; a page to try the API: {url}/docs)\n"
        f"try:   curl {url}/v1/players/{PLAYER}/sessions\n"
        "       README.md goes on from here. Ctrl-C stops the service and its Cassandra.\n"
    )


def is_ready(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
