"""The log: one JSON object per line, or readable text on a terminal.

Each line of a request carries the request's ids. Lines that a client can cause at will are limited
to a few per second.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from player_sessions.telemetry import metrics
from player_sessions.telemetry.request_ids import ids

_Event = MutableMapping[str, Any]
log: Any = structlog.get_logger()
_level = logging.INFO
_NO_NODE = "Control connection failed to connect"  # the driver's words, with a traceback


def debugging() -> bool:
    """Return whether the level is DEBUG, at which each request has a line."""
    return _level <= logging.DEBUG


def configure(level: str, form: str) -> None:
    """Log to standard error; `form` is auto, json or console."""
    json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    renderer: Any = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer()
    shared: list[Any] = [
        structlog.processors.add_log_level,
        _add_ids,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info if json else structlog.processors.StackInfoRenderer(),
    ]
    output: Any = _Output()
    structlog.configure(
        processors=[_filter, *shared, renderer],
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    # The log records of the libraries are written in the same form.
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared)
    )
    handler.addFilter(_is_news)
    logging.basicConfig(handlers=[handler], force=True)
    global _level
    _level = logging.getLevelNamesMapping()[level]
    logging.getLogger().setLevel(_level if debugging() else max(logging.WARNING, _level))
    # We log a lost node ourselves, and a malformed request, which anyone may send, gets a 400 only.
    for library in ("cassandra", "uvicorn"):
        logging.getLogger(library).setLevel(_level if debugging() else logging.ERROR)


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether we do not log this ourselves, in one line: the driver found no node."""
    return debugging() or not str(record.msg).startswith(_NO_NODE)


def _filter(_: Any, method: str, event: _Event) -> _Event:
    if logging.getLevelNamesMapping()[method.upper()] < _level:
        raise structlog.DropEvent
    return event


def _add_ids(_: Any, __: str, event: _Event) -> _Event:
    """Add the ids of the request that the current task serves, if it serves one."""
    event.update(ids())
    return event


class _Output:
    """Standard error. When it cannot be written (a full disk), lines are lost and counted."""

    def write(self, line: str) -> None:
        try:  # sys.stderr would keep the line and fail again when the process ends
            os.write(2, line.encode(errors="backslashreplace"))
        except OSError:
            metrics.LINES_SUPPRESSED.inc()

    def flush(self) -> None:
        """Do nothing, since every line is written at once."""


class Limited:
    """Writes at most `per_second` lines, also in a burst, and says later how many it left out."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._allowed, self._at = per_second, clock()
        self._left_out = 0

    def __call__(self, write: Callable[..., None], event: str, **fields: Any) -> None:
        """Write a line with `write`, such as `log.info`, unless there were too many of late."""
        now = self._clock()
        gained = (now - self._at) * self._per_second
        self._allowed, self._at = min(self._per_second, self._allowed + gained), now
        if self._allowed < 1:
            self._left_out += 1
            metrics.LINES_SUPPRESSED.inc()
            return
        self._allowed -= 1
        if self._left_out:
            fields["left_out"], self._left_out = self._left_out, 0
        write(event, **fields)
