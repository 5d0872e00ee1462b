"""The contenders of the bench: how each is started and what it is asked."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from loadtest.bench.generator import http as request

ROOT = Path(__file__).parent.parent.parent
_SESSIONS = ("GET", "/v1/players/{}/sessions", "")  # the request for a player's sessions


@dataclass(frozen=True)
class Contender:
    """A program that is measured.

    write: the path and the JSON key of its batches. read: a request with `{}` for the player's id,
    of which a straight contender makes the queries.
    half: measure it at half load, too. stores: look up what it acknowledged. all_rows: it also
    stores the player's latest start and the starts of each hour.
    straight: it is no server; it takes the load's job and makes its own load.
    source: the folder of a program in Go, which is built first; it needs no `command`.
    environ: variables beside those of all contenders; `{sink}` is the port of the trace receiver,
    `{sampled}` the share of the requests that are traced.
    """

    name: str
    what: str
    command: tuple[str, ...]
    write: tuple[str, str] = ("/v1/events", "events")
    read: tuple[str, str, str] | None = None
    half: bool = False
    stores: bool = True
    all_rows: bool = True
    straight: bool = False
    source: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    def read_request(self, player: str) -> str:
        assert self.read is not None
        return request(*(part.replace("{}", player) for part in self.read)).decode()


SERVICE = Contender(
    "service",
    "this service, metrics on",
    ("-m", "player_sessions", "serve"),
    read=_SESSIONS,
    half=True,
)
SINK = Contender("sink", "receives the traces", ("-m", "loadtest.bench.sink"))
CONTENDERS = {
    each.name: each
    for each in (
        Contender(
            "baseline",
            "the original's design: Flask, synchronous, one unprepared INSERT per event",
            ("-m", "loadtest.bench.baseline"),
            ("/", "rows"),
            ("GET", "/", '{"player_id":"{}"}'),
            half=True,
            all_rows=False,
        ),
        Contender(
            "each-event",
            "this service with one `execute_async` per row",
            ("-m", "loadtest.bench.variants", "each-event"),
            half=True,
        ),
        SERVICE,
        replace(
            SERVICE,
            name="traced",
            what="this service, metrics on, some requests traced to a receiver",
            read=None,
            half=False,
            environ={
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{sink}",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "{sampled}",
            },
        ),
        Contender(
            "peer",
            "a service written by hand in Go: net/http and gocql, one batch per request",
            (),
            read=_SESSIONS,
            half=True,
            source=Path(__file__).parent / "peer",
        ),
        Contender(
            "bare",
            "this service's handlers of batches and reads on bare ASGI",
            ("-m", "loadtest.bench.variants", "bare"),
            read=_SESSIONS,
            half=True,
        ),
        Contender(
            "asgi",
            "bare ASGI in the same server: a ready answer, without JSON, rules and store",
            ("-m", "loadtest.bench.variants", "asgi"),
            read=_SESSIONS,
            stores=False,
        ),
        Contender(
            "driver",
            "the same batches and queries straight through the driver, without HTTP",
            ("-m", "loadtest.bench.straight"),
            read=_SESSIONS,
            straight=True,
        ),
    )
}


def other(folder: Path) -> Contender:
    """Return the service of another working copy, run with the packages of this one."""
    return replace(
        SERVICE,
        name="other",
        what="the service of another working copy",
        all_rows=False,  # an older copy may store fewer
        environ={"PYTHONPATH": str(folder.absolute() / "service")},
    )


def missing(contender: Contender) -> str | None:
    """Return what this machine lacks to run the contender, or None."""
    return "Go" if contender.source and shutil.which("go") is None else None
