"""A double of the service with errors that the real one must not have. On demand it loses, repeats,
mixes up or invents events, answers slowly, or has a known capacity."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

PAGE = 20


@dataclass
class Double:
    """The switches of the double, and what it stored: player -> session -> its two events."""

    drop_event: int = -1  # index of an event that is acknowledged but not stored
    listing: str = ""  # duplicate, disordered, altered or unsent
    seconds_per_request: float = 0.0  # requests are handled one at a time, so this is 1 / capacity
    frozen_until: float = 0.0
    refuse_every: int = 0  # each n-th batch gets 503
    alone: str = ""  # what is wrong with single sessions: missing, altered, older, none or online
    counting: int = 0  # so many more questions for starts per country get 503 still-counting
    url: str = ""
    keys: list[str | None] = field(default_factory=list)
    batches: int = 0
    events: int = 0
    players: dict[str, dict[str, dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    turn: threading.Lock = field(default_factory=threading.Lock)

    def take(self, events: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        with self.turn:
            time.sleep(max(self.seconds_per_request, self.frozen_until - time.monotonic(), 0))
            self.batches += 1
            if self.refuse_every and self.batches % self.refuse_every == 0:
                return 503, {"type": "urn:player-sessions:problem:overloaded"}
            for event in events:
                if self.events != self.drop_event:
                    self._store(event)
                self.events += 1
            return 200, {"accepted": len(events), "discarded": 0}

    def _store(self, event: dict[str, Any]) -> None:
        session = self.players[event["player_id"]][event["session_id"]]
        before = session.get(event["event"])
        if before is None or before["ts"] <= event["ts"]:
            session[event["event"]] = event

    def page(self, player: str, cursor: int) -> dict[str, Any]:
        with self.turn:
            listed = self._listed(player)
        more = cursor + PAGE < len(listed)
        return {
            "player_id": player,
            "sessions": listed[cursor : cursor + PAGE],
            "next_cursor": str(cursor + PAGE) if more else None,
        }

    def session(self, player: str, session: str) -> tuple[int, dict[str, Any]]:
        with self.turn:
            told = self.players[player].get(session)
            if told is None or self.alone == "missing":
                return 404, {"type": "urn:player-sessions:problem:session-not-found"}
            document = _state(session, told)
        if self.alone == "altered":
            document["country"] = "XX"
        return 200, document

    def presence(self, player: str) -> tuple[int, dict[str, Any]]:
        with self.turn:
            starts = sorted(
                (told["start"]["ts"], told["start"]["country"], session)
                for session, told in self.players[player].items()
                if "start" in told
            )
            if self.alone == "none":
                starts.clear()
            chosen = starts and starts[0 if self.alone == "older" else -1][2]
            latest = _state(chosen, self.players[player][chosen]) if chosen else None
        online = self.alone == "online" or bool(latest and latest["status"] == "open")
        return 200, {"player_id": player, "online": online, "latest_session": latest}

    def starts(self) -> tuple[int, dict[str, Any]]:
        with self.turn:
            self.counting -= 1
            if self.counting >= 0:
                return 503, {"type": "urn:player-sessions:problem:still-counting"}
            return 200, {"total": 0, "countries": []}

    def _listed(self, player: str) -> list[dict[str, Any]]:
        listed = sorted(
            (
                _session(session, told)
                for session, told in self.players[player].items()
                if len(told) == 2
            ),
            key=lambda session: str(session["ended_at"]),
            reverse=True,
        )
        if self.listing and len(listed) > 1:
            if self.listing == "duplicate":
                listed.insert(0, listed[0])
            elif self.listing == "disordered":
                listed.reverse()
            elif self.listing == "altered":
                listed[0]["country"] = "XX"
            elif self.listing == "unsent":
                listed.insert(0, {**listed[0], "session_id": str(uuid4())})
        return listed


def _session(session: str, told: dict[str, Any]) -> dict[str, Any]:
    began, ended = told["start"]["ts"], told["end"]["ts"]
    length = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    return {
        "session_id": session,
        "country": told["start"]["country"],
        "started_at": began,
        "ended_at": ended,
        "duration_seconds": max(0.0, length),
    }


def _state(session: str, told: dict[str, Any]) -> dict[str, Any]:
    """Return a session of which one event may be missing."""
    if len(told) == 2:
        return {**_session(session, told), "status": "complete"}
    start, end = told.get("start", {}), told.get("end", {})
    return {
        "session_id": session,
        "country": start.get("country"),
        "started_at": start.get("ts"),
        "ended_at": end.get("ts"),
        "duration_seconds": None,
        "status": "open" if start else "unstarted",
    }


@contextmanager
def running(double: Double) -> Iterator[Double]:
    """Serve the double at its `url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            double.keys.append(self.headers.get("Authorization"))
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(*double.take(json.loads(body)["events"]))

        def do_GET(self) -> None:
            double.keys.append(self.headers.get("Authorization"))
            parts = urlsplit(self.path)
            match [unquote(part) for part in parts.path.split("/")[2:]]:
                case ["players", player, "sessions"]:
                    cursor = int(parse_qs(parts.query).get("cursor", ["0"])[0])
                    self._answer(200, double.page(player, cursor))
                case ["players", player, "sessions", session]:
                    self._answer(*double.session(player, session))
                case ["players", player]:
                    self._answer(*double.presence(player))
                case ["countries", "starts"]:
                    self._answer(*double.starts())

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document, separators=(",", ":")).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 512

        def handle_error(self, *_: Any) -> None:
            """Ignore a client that went away, as happens at the end of each load."""

    with Server(("127.0.0.1", 0), Handler) as server:
        double.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield double
        finally:
            server.shutdown()
