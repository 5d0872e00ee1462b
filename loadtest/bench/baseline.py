"""The baseline, in the design of the original: Flask, synchronous, one unprepared INSERT per event.

Nothing is done to slow it down: it has the service's tables and its driver settings, and of the
two threaded servers that are installed the cheaper one, uvicorn's (the service's own HTTP server,
with a pool of threads for the synchronous handlers), since Werkzeug's cannot keep a connection.
"""

from __future__ import annotations

import os
import warnings
from datetime import datetime
from typing import Any
from uuid import UUID

import uvicorn
from flask import Flask, Response, jsonify, request

from player_sessions.driver import build_cluster
from player_sessions.settings import Settings, load

_INSERT_START = (
    "INSERT INTO session_starts (player_id, session_id, started_at, country)"
    " VALUES (%s, %s, %s, %s)"
)
_INSERT_END = "INSERT INTO session_ends (player_id, ended_at, session_id) VALUES (%s, %s, %s)"
_STARTS = "SELECT session_id, started_at, country FROM session_starts WHERE player_id = %s"
_ENDS = "SELECT session_id, ended_at FROM session_ends WHERE player_id = %s"
_SESSIONS = 20


def create_app(settings: Settings) -> Flask:
    app = Flask(__name__)
    cassandra = build_cluster(settings).connect(settings.keyspace)

    def store(event: dict[str, Any]) -> None:
        player, session = UUID(event["player_id"]), UUID(event["session_id"])
        at = datetime.fromisoformat(event["ts"])
        if event["event"] == "start":
            cassandra.execute(_INSERT_START, (player, session, at, event["country"]))
        else:
            cassandra.execute(_INSERT_END, (player, at, session))

    @app.post("/")
    def ingest() -> str:
        for event in request.get_json()["rows"]:
            store(event)
        return "POST success"

    @app.get("/")
    def sessions() -> Response:
        player = UUID(request.get_json()["player_id"])
        starts = {row[0]: row for row in cassandra.execute(_STARTS, (player,))}
        ends = cassandra.execute(_ENDS, (player,))
        complete = [(at, starts[session]) for session, at in ends if session in starts]
        complete.sort(key=lambda pair: pair[0], reverse=True)
        return jsonify([_document(start, at) for at, start in complete[:_SESSIONS]])

    @app.get("/health/ready")
    def ready() -> str:
        return "ready"

    return app


def _document(start: tuple[UUID, datetime, str], ended_at: datetime) -> dict[str, str]:
    session, started_at, country = start
    return {
        "session_id": str(session),
        "country": country,
        "started_at": started_at.isoformat(),
        "ended_at": ended_at.isoformat(),
    }


def main() -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # uvicorn's, which names an add-on
    settings = load(os.environ)
    app: Any = create_app(settings)
    uvicorn.run(
        app,
        host=settings.http_host,
        port=settings.http_port,
        interface="wsgi",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
