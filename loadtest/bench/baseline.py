"""The baseline, in the original's design: Flask, synchronous, one unprepared INSERT per event.

Nothing slows it down on purpose. It uses the service's tables and the same driver. Of the two
threaded servers that are installed it uses the cheaper one: uvicorn, with a pool of threads for the
synchronous handlers. Werkzeug's server cannot keep a connection open.
"""

from __future__ import annotations

import os
import warnings
from datetime import datetime
from typing import Any
from uuid import UUID

import uvicorn
from flask import Flask, Response, jsonify, request

from dev import cql
from dev.service import PREFIX

_INSERT_START = (
    "INSERT INTO session_starts (player_id, session_id, started_at, country)"
    " VALUES (%s, %s, %s, %s)"
)
_INSERT_END = "INSERT INTO session_ends (player_id, ended_at, session_id) VALUES (%s, %s, %s)"
_STARTS = "SELECT session_id, started_at, country FROM session_starts WHERE player_id = %s"
_ENDS = "SELECT session_id, ended_at FROM session_ends WHERE player_id = %s"
_SESSIONS = 20


def create_app(cassandra: Any) -> Flask:
    """Return the application around a driver's session in the keyspace."""
    app = Flask(__name__)

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
    warnings.simplefilter("ignore", DeprecationWarning)  # uvicorn recommends an add-on
    with cql.connected(os.environ, os.environ[f"{PREFIX}KEYSPACE"]) as cassandra:
        app: Any = create_app(cassandra)
        uvicorn.run(
            app,
            host="127.0.0.1",
            port=int(os.environ[f"{PREFIX}HTTP_PORT"]),
            interface="wsgi",
            access_log=False,
            log_level="warning",
        )


if __name__ == "__main__":
    main()
