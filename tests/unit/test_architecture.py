"""docs/architecture.md is held to the code: its steps, its rooms, its picture and its table.

A batch and a read run through the real stack in this process, and a profile function notes each
module of the package when one of its functions is entered for the first time. The steps of the page
must name exactly these modules, in this order.

Two ends are doubles: the client's transport, and the driver's session, which answers at once. So
`store/loop_connection.py` is entered by its `call_soon` only, which brings the answer back to the
loop; tests/unit/test_loop_connection.py tests its sockets.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import re
import struct
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from loadtest.bench.node import QUERIES, prepared
from player_sessions.rules.events import to_ms
from player_sessions.settings import Settings
from player_sessions.store.budget import Budget
from player_sessions.store.connector import Connected
from player_sessions.store.player_queries import PlayerQueries
from player_sessions.store.requests import Client
from player_sessions.store.store import Store, now_ms
from player_sessions.web.access import SCOPES, Keys, new_key
from player_sessions.web.app import create_app
from player_sessions.web.connections import Connection
from player_sessions.web.context import Context
from tests.support import inserts

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "service" / "player_sessions"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
# What the page says it leaves out of the order: two rooms that all others use, and two questions to
# the store that need no Cassandra.
EVERYWHERE = ("telemetry/", "settings.py")
QUESTIONS = (Store.surplus.__code__, now_ms.__code__)

PLAYER = UUID("0a2d12a1a7e145de8bae44c0c6e06629")
SESSION = UUID("4a0c43c9-c43a-42ff-ba55-67563dfa35d4")
BEGAN = datetime.now(UTC).replace(microsecond=0, tzinfo=None) - timedelta(hours=1)
EVENT = f'"player_id":"{PLAYER.hex}","session_id":"{SESSION}","ts":"{BEGAN.isoformat()}"'
BATCH = f'{{"events":[{{"event":"start","country":"FI",{EVENT}}},{{"event":"end",{EVENT}}}]}}'
REQUESTS = {
    "batch": f"POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    f"content-length: {len(BATCH)}\r\nauthorization: Bearer %s\r\n\r\n{BATCH}",
    "read": f"GET /v1/players/{PLAYER.hex}/sessions HTTP/1.1\r\nhost: a\r\n"
    "authorization: Bearer %s\r\n\r\n",
}
ANSWERS = {
    "batch": b'{"accepted":2,"discarded":0}',
    "read": f'"session_id":"{SESSION}","country":"FI"'.encode(),
}
# What the driver's session answers: the bodies of RESULT frames.
ROWS = {
    "batch": struct.pack(">i", 1),
    "first_ends": struct.pack(">iiiiiqi16s", 2, 4, 2, 1, 8, to_ms(BEGAN), 16, SESSION.bytes),
    "starts": struct.pack(
        ">iiiii16siqi2s", 2, 4, 3, 1, 16, SESSION.bytes, 8, to_ms(BEGAN), 2, b"FI"
    ),
}


class Transport(asyncio.Transport):
    """A client's connection that keeps the answer."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.answered = b""

    def write(self, data: Any) -> None:
        self.answered += data

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class DriverSession:
    """Stands for the driver's session, its pool and its connection: answers everything at once."""

    is_shutdown = False

    def __init__(self) -> None:
        self._pools = {"node": self}

    def borrow_connection(self, timeout: float) -> tuple[Any, int]:  # noqa: ARG002
        return self, 7

    def return_connection(self, _: Any) -> None:
        pass

    def send_msg(
        self, query: Any, stream: int, respond: Any, _: Any, decoder: Any, columns: Any
    ) -> None:
        result = ROWS[getattr(query, "table", "batch")]
        respond(decoder(5, {}, stream, 0, 8, result, None, columns))


def connected_store() -> Store:
    """A store whose client is real, but not the driver's session behind it."""
    settings = Settings()
    client: Any = Client.__new__(Client)  # without its constructor, which connects
    client._loop, client._late = asyncio.get_running_loop(), set()
    client._budget, client._speculation_after = Budget(0.1), settings.speculation_after
    client.policy = SimpleNamespace(make_query_plan=lambda *_: iter(["node"]))
    client.session = DriverSession()
    store = Store(settings)
    connected: Any = Connected.__new__(Connected)  # without its constructor, which connects
    connected.batch_rows = 10
    connected.client = client
    connected.inserts = inserts()
    connected.player_queries = PlayerQueries({name: prepared(name) for name in QUERIES})
    store._connector.connected = connected
    store._connector.reason = None
    return store


def asks(frame: FrameType | None) -> bool:
    """Whether this call is one of QUESTIONS, or was made by one, directly or through others."""
    while frame is not None and frame.f_code not in QUESTIONS:
        frame = frame.f_back
    return frame is not None


def entered(way: str, folder: Path) -> list[str]:
    """The modules that a request enters, in the order of their first entry."""
    found: dict[str, None] = {}

    def on_call(frame: FrameType, event: str, _: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(PACKAGE) and not asks(frame):
            name = file.relative_to(PACKAGE).as_posix()
            if not name.startswith(EVERYWHERE):
                found.setdefault(name)

    key, line = new_key("test", SCOPES)
    (folder / "keys").write_text(line)

    async def serve() -> bytes:
        context = Context(Settings(), connected_store(), Keys(str(folder / "keys")))
        app: Any = create_app(context)
        config = uvicorn.Config(app, lifespan="off", ws="none", access_log=False, log_config=None)
        config.load()
        state, transport = ServerState(), Transport()
        made: Any = functools.partial(Connection, context, config=config, server_state=state)
        before = sys.getprofile()
        sys.setprofile(on_call)
        try:
            connection = made(app_state={})
            connection.connection_made(transport)
            connection.data_received((REQUESTS[way] % key).encode())
            await asyncio.gather(*state.tasks)
        finally:
            sys.setprofile(before)
        return transport.answered

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answer = runner.run(serve())
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert ANSWERS[way] in answer
    return list(found)


def section(title: str) -> str:
    """The text of a section of the page."""
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"the page has no section {title!r}"
    return found[1]


def steps(way: str) -> list[list[str]]:
    """The modules with which each numbered step of a way begins."""
    numbered = re.findall(r"^(\d+)\. (.*)$", section(f"The way of a {way}"), re.MULTILINE)
    assert [int(number) for number, _ in numbered] == list(range(1, len(numbered) + 1))
    return [re.findall(r"`([\w/]+\.py)`", text.partition(": ")[0]) for _, text in numbered]


@pytest.mark.parametrize("way", REQUESTS)
def test_a_request_passes_the_modules_of_the_steps_in_their_order(way: str, tmp_path: Path) -> None:
    told = steps(way)
    assert [module for step in told for module in step] == entered(way, tmp_path)
    assert len(told) == 9
    assert all(told)


def modules() -> Iterator[str]:
    """Every module as the page names it: a package by its folder."""
    for file in PACKAGE.rglob("*.py"):
        path = file.relative_to(PACKAGE)
        if path.name != "__init__.py":
            yield path.as_posix()
        elif path.parent.name:
            yield f"{path.parent.as_posix()}/"


def test_every_module_is_on_the_page_and_the_page_names_no_other() -> None:
    named = set(re.findall(r"`(?!service/|tests/)([\w/]+(?:\.py|/))`", PAGE))
    assert named == set(modules())


def test_the_arrows_of_the_picture_are_the_import_contract() -> None:
    (contract,) = (
        contract
        for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
            "importlinter"
        ]["contracts"]
        if contract["type"] == "layers"
    )
    floors = [floor.split(" | ") for floor in contract["layers"]]
    allowed = {arrow for above, below in pairwise(floors) for arrow in product(above, below)}
    (picture,) = re.findall(r"^```mermaid\nflowchart TD\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    drawn = re.findall(r"^ *(\w+) --> (\w+)$", picture, re.MULTILINE)
    assert sorted(drawn) == sorted(allowed)


def defined(module: str) -> Iterator[str]:
    """The names that a module defines, those of a class as `Class.name`."""

    def names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from names(node.body, f"{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            yield from (prefix + each.id for each in targets if isinstance(each, ast.Name))

    file = PACKAGE / module / "__init__.py" if module.endswith("/") else PACKAGE / module
    return names(ast.parse(file.read_text()).body, "")


def test_what_the_table_names_is_where_the_table_says() -> None:
    rows = re.findall(r"^\| [^|]+\? \| ([^|]+) \|", section("Where is …?"), re.MULTILINE)
    assert len(rows) >= 10
    for place in rows:
        found: set[str] = set()
        for name in re.findall(r"`([^`]+)`", place):
            if name.endswith((".py", "/")):
                found = set(defined(name))
            else:
                assert name in found, place
        assert found, place
