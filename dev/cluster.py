"""A real Apache Cassandra without containers: nodes 1..N on 127.0.0.1..N. Standard library only.

The nodes are configured as K8ssandra configures a 5.0 node (`cassandra_latest.yaml`), except for
the commit log: mmap and batch, since a single replica must not lose what it acknowledged. Nodes end
with the process that started them, however that ends. This is not a tool for production.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from dev import toolchain
from dev.toolchain import MissingTool, say

START_SECONDS = 180
STOP_SECONDS = 30
PORT_SECONDS = 10
# The options of Cassandra's conf/jvm17-server.options, and some for small nodes that start fast.
_JVM = """
-Djdk.attach.allowAttachSelf=true
--add-exports java.base/jdk.internal.misc=ALL-UNNAMED
--add-exports java.management.rmi/com.sun.jmx.remote.internal.rmi=ALL-UNNAMED
--add-exports java.rmi/sun.rmi.registry=ALL-UNNAMED
--add-exports java.rmi/sun.rmi.server=ALL-UNNAMED
--add-exports java.sql/java.sql=ALL-UNNAMED
--add-exports java.base/java.lang.ref=ALL-UNNAMED
--add-exports jdk.unsupported/sun.misc=ALL-UNNAMED
--add-opens java.base/java.lang.module=ALL-UNNAMED
--add-opens java.base/jdk.internal.loader=ALL-UNNAMED
--add-opens java.base/jdk.internal.ref=ALL-UNNAMED
--add-opens java.base/jdk.internal.reflect=ALL-UNNAMED
--add-opens java.base/jdk.internal.math=ALL-UNNAMED
--add-opens java.base/jdk.internal.module=ALL-UNNAMED
--add-opens java.base/jdk.internal.util.jar=ALL-UNNAMED
--add-opens jdk.management/com.sun.management.internal=ALL-UNNAMED
--add-opens java.base/sun.nio.ch=ALL-UNNAMED
--add-opens java.base/java.io=ALL-UNNAMED
--add-opens java.base/java.lang.reflect=ALL-UNNAMED
--add-opens java.base/java.lang=ALL-UNNAMED
--add-opens java.base/java.util=ALL-UNNAMED
-Dio.netty.tryReflectionSetAccessible=true
-Dio.netty.allocator.useCacheForAllThreads=true
-Dio.netty.allocator.maxOrder=11
-XX:+ExitOnOutOfMemoryError
-Dcassandra-foreground=yes
-Dcassandra.skip_wait_for_gossip_to_settle=0
-Dcassandra.ring_delay_ms=10000
-Dcassandra.shutdown_announce_in_ms=200
-Dcassandra.superuser_setup_delay_ms=0
"""
_LOGBACK = """<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <target>System.err</target>
    <encoder><pattern>%-5level [%thread] %date{ISO8601} %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"""
# Settings from cassandra_latest.yaml.
_LATEST = {
    "memtable": {
        "configurations": {
            "skiplist": {"class_name": "SkipListMemtable"},
            "trie": {"class_name": "TrieMemtable"},
            "default": {"inherits": "trie"},
        }
    },
    "memtable_allocation_type": "offheap_objects",
    "sstable": {"selected_format": "bti"},
    "storage_compatibility_mode": "NONE",
    "default_compaction": {
        "class_name": "UnifiedCompactionStrategy",
        "parameters": {
            "scaling_parameters": "T4",
            "max_sstables_to_compact": 64,
            "target_sstable_size": "1GiB",
            "sstable_growth": 0.3333333333333333,
            "min_sstable_size": "100MiB",
        },
    },
    "uuid_sstable_identifiers_enabled": True,
    "trickle_fsync": True,
    "key_cache_size": "0MiB",
}


class NodeFailed(Exception):
    """A node did not start; the message has the end of its log."""


class _Ports(NamedTuple):
    """The ports of a cluster; node n has the n-th of those from `jmx` on."""

    cql: int
    storage: int  # by which the nodes reach each other
    jmx: int


class Cluster:
    """Nodes 1..`nodes` in `folder`; their data stay until `wipe`.

    auth: PasswordAuthenticator and CassandraAuthorizer, with the superuser cassandra/cassandra.
    relaxed: sync the commit log every 10 s, to measure the service's own cost.
    datacenters: share the nodes out equally to dc1, dc2 and so on, in their order.
    native_port: 0 for any free one. first_address: the n of the first node's 127.0.0.n.
    proxied: clients are told that node n is at 127.0.1.n, where a proxy must listen.
    yaml: settings of cassandra.yaml that override ours.

    Start nodes from a thread that lives as long as they must: Linux ends them with that thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 1,
        datacenters: int = 1,
        auth: bool = False,
        relaxed: bool = False,
        native_port: int = 0,
        heap_mb: int | None = None,
        first_address: int = 1,
        proxied: bool = False,
        yaml: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.nodes = nodes
        self.datacenters = datacenters
        self.auth = auth
        self.relaxed = relaxed
        self.heap_mb = heap_mb or (512 if nodes == 1 else 384)
        self.first_address = first_address
        self.proxied = proxied
        self.yaml = yaml or {}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._held: contextlib.ExitStack | None = None
        self._fixed_port = native_port
        self._ports = self._known_ports() or _free_ports()

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def native_port(self) -> int:
        """The port of CQL, which is settled once the cluster has started."""
        return self._fixed_port or self._ports.cql

    @property
    def addresses(self) -> list[str]:
        return [self.address(n) for n in range(1, self.nodes + 1)]

    def address(self, node: int) -> str:
        return f"127.0.0.{self.first_address + node - 1}"

    def public_address(self, node: int) -> str:
        """Return the address at which clients look for the node."""
        return f"127.0.{int(self.proxied)}.{self.first_address + node - 1}"

    def datacenter(self, number: int) -> range:
        """Return the numbers of the nodes of the datacenter dc<number>."""
        size = self.nodes // self.datacenters
        return range((number - 1) * size + 1, number * size + 1)

    def start(self) -> None:
        """Start all nodes and wait for them; raise NodeFailed, MissingTool or BlockingIOError."""
        self._hold()
        try:
            self.start_node(1)
            for node in range(2, self.nodes + 1):
                self.start_node(node, wait=False)
                time.sleep(1)  # nodes that join at the same instant disturb each other
            for node in range(2, self.nodes + 1):
                self.wait_node(node)
        except BaseException:
            self.stop()
            raise

    def start_node(
        self, node: int, *, wait: bool = True, environ: Mapping[str, str] | None = None
    ) -> None:
        """Start a node; `environ` adds variables to those of this process."""
        self._hold()
        base = self.folder / f"node{node}"
        (base / "tmp").mkdir(parents=True, exist_ok=True)
        self._await_free(self.address(node), self.native_port)
        self._write_configuration(node, base)
        java = toolchain.java()
        jars = toolchain.jars()
        command = [
            *(str(java), f"-Xms{self.heap_mb}m", f"-Xmx{self.heap_mb}m", *_JVM.split()),
            *(f"-javaagent:{path}" for path in jars.glob("jamm-*.jar")),
            f"-Djava.io.tmpdir={base / 'tmp'}",
            f"-Dcassandra.config=file://{base / 'cassandra.yaml'}",
            f"-Dcassandra-rackdc.properties=file://{base / 'rackdc.properties'}",
            f"-Dcassandra.storagedir={base}",
            f"-Dcassandra.logdir={base}",
            f"-Dcassandra.jmx.local.port={self._ports.jmx + node - 1}",
            f"-Dlogback.configurationFile={base / 'logback.xml'}",
            *("-cp", f"{jars}/*", "org.apache.cassandra.service.CassandraDaemon"),
        ]
        with (base / "system.log").open("ab") as log:
            self._processes[node] = subprocess.Popen(
                ends_with_parent(command),
                cwd=base,
                env={**os.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # on Ctrl-C the owner of the cluster stops the nodes
            )
        (self.folder / "ports.json").write_text(
            json.dumps(self._ports._replace(cql=self.native_port))
        )
        if wait:
            self.wait_node(node)

    def wait_node(self, node: int) -> None:
        """Wait until the node answers CQL and, with authentication, its superuser can log in."""
        until = time.monotonic() + START_SECONDS
        process = self._processes[node]
        while not _answers(self.address(node), self.native_port, login=self.auth):
            if process.poll() is not None or time.monotonic() > until:
                log = self.folder / f"node{node}" / "system.log"
                tail = log.read_text(errors="replace").splitlines()[-25:]
                raise NodeFailed("\n".join([f"node {node} did not start; {log} ends:", *tail]))
            time.sleep(0.1)

    def running(self, node: int) -> bool:
        return node in self._processes and self._processes[node].poll() is None

    def pid(self, node: int) -> int:
        return self._processes[node].pid

    def stop_node(self, node: int) -> None:
        """Stop a node with SIGTERM, and with SIGKILL if that takes too long."""
        process = self._processes.pop(node)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill_node(self, node: int) -> None:
        process = self._processes.pop(node)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()  # all at once, then wait for each
        for node in list(self._processes):
            self.stop_node(node)
        self._release()

    def wipe(self) -> None:
        """Forget all data; the cluster must be stopped."""
        self._hold()
        try:
            for path in self.folder.glob("node*"):
                shutil.rmtree(path)
        finally:
            self._release()

    def nodetool(self, *arguments: str, node: int = 1) -> str:
        """Run nodetool and return its output; raise CalledProcessError."""
        command = self.nodetool_command(*arguments, node=node)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def nodetool_command(self, *arguments: str, node: int = 1) -> list[str]:
        java = toolchain.java()
        modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True).stdout
        if "jdk.naming.rmi" not in modules:
            raise MissingTool(
                f"nodetool needs a whole Java: {java} lacks the module jdk.naming.rmi"
            )
        port = str(self._ports.jmx + node - 1)
        return self._tool("NodeTool", "-h", "127.0.0.1", "-p", port, *arguments)

    def sstabledump(self, file: Path) -> str:
        """Return an SSTable's rows as JSON; raise CalledProcessError."""
        command = self._tool("SSTableExport", str(file))
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _tool(self, name: str, *arguments: str) -> list[str]:
        base = self.folder / "node1"
        exports = [line for line in _JVM.split("\n") if line.startswith("--add")]
        return [
            *(str(toolchain.java()), *" ".join(exports).split()),
            *("-cp", f"{toolchain.jars()}/*"),
            f"-Dlogback.configurationFile={base / 'logback.xml'}",
            f"-Dcassandra.config=file://{base / 'cassandra.yaml'}",
            f"-Dcassandra-rackdc.properties=file://{base / 'rackdc.properties'}",
            f"-Dcassandra.storagedir={base}",
            f"org.apache.cassandra.tools.{name}",
            *arguments,
        ]

    def _hold(self) -> None:
        """Lock folder and ports for this object; raise BlockingIOError if the folder is in use."""
        if self._held is None:
            with contextlib.ExitStack() as held:
                held.enter_context(toolchain.locked(self.folder / "lock", wait=False))
                while not all(_reserved(port, held) for port in self._ports):
                    self._ports = _free_ports()
                self._held = held.pop_all()

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _known_ports(self) -> _Ports | None:
        try:
            return _Ports(*json.loads((self.folder / "ports.json").read_text()))
        except (OSError, ValueError, TypeError):  # none yet, or not ours
            return None

    def _await_free(self, address: str, port: int) -> None:
        """Wait a little for a node that is ending; raise NodeFailed."""
        until = time.monotonic() + PORT_SECONDS
        while not _is_free(address, port):
            if time.monotonic() > until:
                raise NodeFailed(
                    f"{address}:{port} is taken, perhaps by another Cassandra: choose another port"
                    " (`make run`: PLAYER_SESSIONS_CASSANDRA_PORT, dev/cluster.py: --port)"
                )
            time.sleep(0.2)

    def _write_configuration(self, node: int, base: Path) -> None:
        # JSON is YAML.
        (base / "cassandra.yaml").write_text(json.dumps(self._configuration(node), indent=1))
        number, position, _ = self._place(node)
        (base / "rackdc.properties").write_text(f"dc=dc{number}\nrack=r{position + 1}\n")
        (base / "logback.xml").write_text(_LOGBACK)

    def _place(self, node: int) -> tuple[int, int, int]:
        """Return the node's datacenter, its position therein and its token."""
        size = self.nodes // self.datacenters
        number, position = (node - 1) // size + 1, (node - 1) % size
        # Each datacenter has a ring of its own, but no token may occur twice.
        return number, position, position * 2**64 // size - 2**63 + number - 1

    def _configuration(self, node: int) -> dict[str, Any]:
        base = self.folder / f"node{node}"
        address = self.address(node)
        seeds = {"seeds": f"{self.address(1)}:{self._ports.storage}"}
        return {
            "cluster_name": "player-sessions",
            "num_tokens": 1,
            "initial_token": str(self._place(node)[2]),
            "auto_bootstrap": False,  # all nodes start empty and have fixed tokens
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "endpoint_snitch": "GossipingPropertyFileSnitch",
            "seed_provider": [
                {
                    "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                    "parameters": [seeds],
                }
            ],
            "listen_address": address,
            "rpc_address": address,
            "broadcast_rpc_address": self.public_address(node),
            "storage_port": self._ports.storage,
            "native_transport_port": self.native_port,
            "data_file_directories": [str(base / "data")],
            "commitlog_directory": str(base / "commitlog"),
            "hints_directory": str(base / "hints"),
            "saved_caches_directory": str(base / "saved_caches"),
            "cdc_raw_directory": str(base / "cdc_raw"),
            **_LATEST,
            # settings of our K8ssandra manifests
            "commitlog_disk_access_mode": "mmap",
            **self._commitlog_sync(),
            "batch_size_warn_threshold": "64KiB",
            "batch_size_fail_threshold": "640KiB",
            "unlogged_batch_across_partitions_warn_threshold": 192,
            # settings for a small machine
            "commitlog_segment_size": "8MiB",
            "commitlog_total_space": "256MiB",
            "concurrent_compactors": 1,
            "file_cache_size": "64MiB",
            "networking_cache_size": "32MiB",
            **self._authentication(),
            **self.yaml,
        }

    def _commitlog_sync(self) -> dict[str, str]:
        if self.relaxed:
            return {"commitlog_sync": "periodic", "commitlog_sync_period": "10000ms"}
        return {"commitlog_sync": "batch"}

    def _authentication(self) -> dict[str, Any]:
        if not self.auth:
            return {}
        classes = {
            "authenticator": "PasswordAuthenticator",
            "authorizer": "CassandraAuthorizer",
            "role_manager": "CassandraRoleManager",
        }
        return {key: {"class_name": name} for key, name in classes.items()}


def ends_with_parent(command: Sequence[str | Path]) -> list[str]:
    """Return the command as one that Linux ends when its parent ends, even by kill -9.

    The child sets this itself, by util-linux's `setpriv`, because a `preexec_fn` runs Python in a
    copy of this process whose other threads are gone: with gRPC loaded, one child in five aborted.
    Where there is no such `setpriv` (macOS), the command is returned as it is.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    words = [str(word) for word in command]
    return [setpriv, "--pdeathsig", "KILL", "--", *words] if setpriv else words


def _free_ports() -> _Ports:
    """Return free ports, each with 20 free ones after it (JMX of more nodes).

    They lie below the ports that Linux uses for outgoing connections, which may appear at any time.
    """
    ports: list[int] = []
    while len(ports) < len(_Ports._fields):
        port = 20_000 + 20 * secrets.randbelow(600)
        if port not in ports and all(_is_free("127.0.0.1", port + n) for n in range(20)):
            ports.append(port)
    return _Ports(*ports)


def _reserved(port: int, held: contextlib.ExitStack) -> bool:
    """Reserve a port among clusters until `held` ends; return False when another cluster has it.

    The sign is the UDP port of the same number, which Cassandra does not use: a node binds its own
    ports only seconds after they were chosen.
    """
    sign = held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
    try:
        sign.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError:
            return False
        return True


_HEADER = struct.Struct(">BBhBI")  # version, flags, stream, opcode, length
_STARTUP, _AUTHENTICATE, _OPTIONS, _SUPPORTED, _AUTH_RESPONSE, _AUTH_SUCCESS = 1, 3, 5, 6, 15, 16


def _answers(address: str, port: int, *, login: bool) -> bool:
    """Return whether the node speaks CQL (native protocol v4, sections 4.1.1-4.1.3)."""
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            if not login:
                return _ask(connection, _OPTIONS, b"") == _SUPPORTED
            startup = b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"
            token = b"\x00cassandra\x00cassandra"
            return (
                _ask(connection, _STARTUP, startup) == _AUTHENTICATE
                and _ask(connection, _AUTH_RESPONSE, struct.pack(">i", len(token)) + token)
                == _AUTH_SUCCESS
            )
    except OSError:
        return False


def _ask(connection: socket.socket, opcode: int, body: bytes) -> int:
    """Send a request and return the opcode of the answer."""
    connection.sendall(_HEADER.pack(4, 0, 0, opcode, len(body)) + body)
    with connection.makefile("rb") as answer:
        head = answer.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return -1
        _, _, _, answered, length = _HEADER.unpack(head)
        answer.read(length)
        return int(answered)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="A real Cassandra on this machine, without containers.",
        epilog="Example: python dev/cluster.py run --nodes 3 --folder .cassandra/three",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    default = toolchain.HOME / "run"
    helps = {
        "run": ("start nodes; Ctrl-C stops them", "python dev/cluster.py run --nodes 3"),
        "nodetool": ("ask a running node", "python dev/cluster.py nodetool status"),
        "wipe": ("forget all data", "python dev/cluster.py wipe"),
        "setup": ("fetch Java and Cassandra", "python dev/cluster.py setup"),
    }
    made = {
        name: commands.add_parser(name, help=text, epilog=f"Example: {example}")
        for name, (text, example) in helps.items()
    }
    for name in ("run", "nodetool", "wipe"):
        made[name].add_argument(
            "--folder", type=Path, default=default, help="where data lives (%(default)s)"
        )
    run = made["run"]
    run.add_argument("--nodes", type=int, default=1, help="number of nodes (%(default)s)")
    run.add_argument(
        "--datacenters", type=int, default=1, help="share the nodes out to dc1 to dcN (%(default)s)"
    )
    run.add_argument("--port", type=int, default=9042, help="native port (%(default)s)")
    run.add_argument(
        "--auth", action="store_true", help="ask for logins; the superuser is cassandra/cassandra"
    )
    run.add_argument(
        "--relaxed", action="store_true", help="sync the commit log every 10 s, for benchmarks"
    )
    made["nodetool"].add_argument(
        "--node", type=int, default=1, help="number of the node (%(default)s)"
    )
    made["nodetool"].add_argument("arguments", nargs=argparse.REMAINDER)
    try:
        return _execute(parser.parse_args())
    except BlockingIOError:
        say("the folder is in use by another run: stop that one, or choose another --folder")
    except (MissingTool, NodeFailed) as error:
        say(str(error))
    return 1


def _execute(options: argparse.Namespace) -> int:
    if options.command == "setup":
        say(f"java: {toolchain.java()}\njars: {toolchain.jars()}")
    elif options.command == "wipe":
        Cluster(options.folder).wipe()
    elif options.command == "nodetool":
        command = Cluster(options.folder).nodetool_command(*options.arguments, node=options.node)
        return subprocess.run(command).returncode
    else:
        _run(options)
    return 0


def _run(options: argparse.Namespace) -> None:
    cluster = Cluster(
        options.folder,
        nodes=options.nodes,
        datacenters=options.datacenters,
        auth=options.auth,
        relaxed=options.relaxed,
        native_port=options.port,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with cluster:
            say(f"Cassandra answers at {','.join(cluster.addresses)} port {cluster.native_port}")
            while True:
                signal.pause()
    except KeyboardInterrupt:
        say("stopped")


if __name__ == "__main__":
    sys.exit(main())
