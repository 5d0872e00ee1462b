"""The one register of settings: each is a field here, an environment variable, a line in the docs.

A setting `x` comes from `PLAYER_SESSIONS_X`, a secret also from the file that
`PLAYER_SESSIONS_X_FILE` names. Whatever is unknown or bad is refused, all of it at once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

PREFIX = "PLAYER_SESSIONS_"
_DEVELOPMENT = f"{PREFIX}DEV_"  # read by dev/, not by the service
# A Kubernetes Service named player-sessions puts such variables into every pod of its namespace.
# Their values count too, or a misspelt …_PORT of ours would pass for one of them.
_SERVICE_LINK = re.compile(
    r"\w+(_SERVICE_HOST=.*|_SERVICE_PORT(_\w+)?=\d+|_PORT(_\d+_(TCP|UDP))?=(tcp|udp)://.*"
    r"|_PORT_\d+_(TCP|UDP)_(PROTO|PORT|ADDR)=.*)"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)\Z")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
_CONSISTENCY = ("LOCAL_QUORUM", "LOCAL_ONE", "QUORUM", "EACH_QUORUM", "ALL", "ONE")


class InvalidSettings(ValueError):
    """Some settings are unknown or bad; the message has one line for each."""


def format_duration(seconds: float) -> str:
    """As settings write it: `365d`, `1.5s`, `200ms`."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:g}ms"


def _duration(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        match = _DURATION.match(text)
        if match is None:
            raise ValueError("must be a duration such as 365d, 2h, 5m, 1.5s or 200ms")
        seconds = float(match[1]) * _UNITS[match[2]]
        if not least <= seconds <= most:
            raise ValueError(f"must be {format_duration(least)} to {format_duration(most)}")
        return seconds

    return parse


def _number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"must be a number, {least} to {most}") from None
        if not least <= value <= most:
            raise ValueError(f"must be {least} to {most}")
        return value

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def _switch(text: str) -> bool:
    if text not in _SWITCH:
        raise ValueError("must be on or off")
    return _SWITCH[text]


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError("must be one name or several with commas")
    return names


def _replication(text: str) -> dict[str, int]:
    factors = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([\w.-]+):(\d{1,2})\s*", part)
        if match is None or not 1 <= int(match[2]) <= 15:
            raise ValueError("must be data centres with their factors, such as dc1:3,dc2:3")
        factors[match[1]] = int(match[2])
    return factors


def _identifier(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", text):
        raise ValueError("must be 1-48 of a-z, 0-9 and _, the first a letter")
    return text


def _setting(
    default: Any, doc: str, parse: Callable[[str], Any] = str, *, secret: bool = False
) -> Any:
    return field(default=default, metadata={"doc": doc, "parse": parse, "secret": secret})


_DAY = 86400.0
_port = _number(int, 1, 65535)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Durations are in seconds."""

    http_host: str = _setting("127.0.0.1", "Address to listen on.")
    http_port: int = _setting(8080, "Port to listen on; 0: any.", _number(int, 0, 65535))
    operations_port: int | None = _setting(
        None,
        "Port for health, metrics and the log's level alone; empty: the port above.",
        _number(int, 0, 65535),
    )
    auth: str = _setting(
        "auto",
        "auto: keys are asked for where there is a keys file, and without one only a loopback"
        " address is served. off: none are asked for, on any address.",
        _one_of("auto", "off"),
    )
    keys_file: str = _setting("", "File of hashed keys, read again when it changes.")
    max_connections: int = _setting(
        10_000, "Most open HTTP connections; above it a new one gets 503.", _number(int, 1, 10**6)
    )
    head_timeout: float = _setting(
        10.0, "Time a client has to send a request's head, else it is cut.", _duration(0.5, 600)
    )
    idle_timeout: float = _setting(
        75.0, "Time a connection may wait for its next request.", _duration(0.5, 3600)
    )
    docs: bool = _setting(True, "Serve the page /docs and the interface's description.", _switch)

    cassandra_contact_points: tuple[str, ...] = _setting(
        ("127.0.0.1",), "Some nodes of Cassandra, with commas; the others are found.", _names
    )
    cassandra_port: int = _setting(9042, "Native port of Cassandra.", _port)
    cassandra_local_dc: str = _setting("dc1", "Data centre whose nodes are asked.")
    cassandra_username: str = _setting("", "User at Cassandra; empty: no login.")
    cassandra_password: str = _setting("", "Its password.", secret=True)
    cassandra_tls: bool = _setting(False, "Speak TLS to Cassandra.", _switch)
    cassandra_tls_ca_file: str = _setting("", "PEM of the authorities; empty: the system's.")
    cassandra_tls_cert_file: str = _setting("", "PEM of a client certificate.")
    cassandra_tls_key_file: str = _setting("", "PEM of its key.")
    cassandra_tls_server_name: str = _setting(
        "", "Name that every node's certificate must carry; empty: the node's address."
    )
    cassandra_tls_check_name: bool = _setting(
        True, "Check the name in the certificate; off is said in the log.", _switch
    )

    keyspace: str = _setting("player_sessions", "Keyspace of the service.", _identifier)
    replication: Mapping[str, int] = field(
        default_factory=lambda: {"dc1": 1},
        metadata={
            "doc": "Replication factor by data centre, for `schema apply`.",
            "parse": _replication,
            "secret": False,
        },
    )
    retention: float = _setting(
        365 * _DAY,
        "How long after its own time an event is kept and listed.",
        _duration(5, 7300 * _DAY),
    )
    role_name: str = _setting("", "Role that `schema apply` makes for the service; empty: none.")
    role_password: str = _setting("", "That role's password.", secret=True)

    read_consistency: str = _setting("LOCAL_QUORUM", "Of reads.", _one_of(*_CONSISTENCY))
    write_consistency: str = _setting("LOCAL_QUORUM", "Of writes.", _one_of(*_CONSISTENCY))
    deadline: float = _setting(
        2.0, "Cassandra answers within it, or the request gets 503.", _duration(0.05, 60)
    )
    speculation_after: float = _setting(
        0.2, "Wait before a second node is asked as well.", _duration(0.001, 60)
    )
    extra_requests: float = _setting(
        0.1, "Most retries and speculation, as a share of the last minute.", _number(float, 0, 1)
    )

    writer_batch_rows: int = _setting(
        128,
        "Most rows in a group commit; the server's limits may lower it.",
        _number(int, 10, 1000),
    )
    writer_batches_in_flight: int = _setting(
        8, "Group commits under way at once.", _number(int, 1, 1000)
    )
    writer_queue_rows: int = _setting(
        5000, "Rows that may wait; above it requests get 503.", _number(int, 10, 1_000_000)
    )
    queue_wait: float = _setting(
        1.0,
        "Longest expected wait for a group commit, at most half the deadline; above it requests"
        " get 503 unread.",
        _duration(0.01, 60),
    )
    reads_in_flight: int = _setting(
        256, "Reads under way at once; above it requests get 503.", _number(int, 1, 10_000)
    )

    future_tolerance: float = _setting(
        300.0, "How far in the future an event's time may lie.", _duration(0, _DAY)
    )
    max_body_bytes: int = _setting(
        65536, "Largest request body; above it 413.", _number(int, 1024, 1 << 24)
    )
    body_timeout: float = _setting(
        5.0, "Time a client has to send its body, else 408.", _duration(0.1, 600)
    )
    drain_delay: float = _setting(
        0.0, "Time from SIGTERM to closing, in which requests are served.", _duration(0, 600)
    )
    drain_timeout: float = _setting(
        15.0, "Longest wait for requests in flight when closing.", _duration(0, 600)
    )
    log_level: str = _setting(
        "INFO", "Least level to log.", _one_of("DEBUG", "INFO", "WARNING", "ERROR")
    )
    log_format: str = _setting(
        "auto", "auto: readable on a terminal, else JSON.", _one_of("auto", "json", "console")
    )

    @property
    def retention_ms(self) -> int:
        return round(self.retention * 1000)

    def masked(self) -> dict[str, Any]:
        """All values by name for the log, each secret that is set as `***`."""
        return {
            f.name: "***"
            if f.metadata["secret"] and getattr(self, f.name)
            else getattr(self, f.name)
            for f in fields(self)
        }


def load(environ: Mapping[str, str]) -> Settings:
    """The settings of this environment; raises InvalidSettings with one line for each fault."""
    known = {PREFIX + f.name.upper(): f for f in fields(Settings)}
    files = {f"{name}_FILE": f for name, f in known.items() if f.metadata["secret"]}
    values: dict[str, Any] = {}
    faults: list[str] = []
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable.startswith(_DEVELOPMENT):
            continue
        setting = known.get(variable) or files.get(variable)
        try:
            if setting is None:
                if not _SERVICE_LINK.fullmatch(f"{variable}={text}"):
                    raise ValueError("no such setting; `player-sessions settings` lists them")
            elif setting.name in values:
                raise ValueError(f"set as well as {variable.removesuffix('_FILE')}; keep one")
            else:
                text = Path(text).read_text().rstrip("\r\n") if variable in files else text
                values[setting.name] = setting.metadata["parse"](text)
        except (ValueError, OSError) as error:
            faults.append(f"{variable}: {error}")
    if not faults:
        faults = _contradictions(Settings(**values))
    if faults:
        raise InvalidSettings("\n".join(faults))
    return Settings(**values)


def _contradictions(settings: Settings) -> list[str]:
    """What each setting allows alone but not together."""
    faults = []
    pairs = (
        ("cassandra_username", "cassandra_password"),
        ("role_name", "role_password"),
        ("cassandra_tls_cert_file", "cassandra_tls_key_file"),
    )
    for one, other in pairs:
        if bool(getattr(settings, one)) != bool(getattr(settings, other)):
            faults.append(f"{PREFIX}{one.upper()}: goes with {PREFIX}{other.upper()}")
    for name in ("ca_file", "cert_file", "key_file"):
        path = getattr(settings, f"cassandra_tls_{name}")
        if path and not Path(path).is_file():
            faults.append(f"{PREFIX}CASSANDRA_TLS_{name.upper()}: no such file: {path}")
    if settings.speculation_after > settings.deadline:
        faults.append(f"{PREFIX}SPECULATION_AFTER: must not exceed {PREFIX}DEADLINE")
    if settings.operations_port and settings.operations_port == settings.http_port:
        faults.append(f"{PREFIX}OPERATIONS_PORT: leave it empty to share {PREFIX}HTTP_PORT")
    if settings.auth == "off" and settings.keys_file:
        faults.append(f"{PREFIX}AUTH: off, although {PREFIX}KEYS_FILE is set; keep one")
    if settings.auth != "off" and not settings.keys_file and not _is_loopback(settings.http_host):
        faults.append(
            f"{PREFIX}HTTP_HOST: not a loopback address, so that anyone may call: set"
            f" {PREFIX}KEYS_FILE (`player-sessions keys new` makes a key) or {PREFIX}AUTH=off"
        )
    return faults


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def describe() -> list[tuple[str, str, str]]:
    """(variable, default, what it is) of every setting, for `player-sessions settings`."""
    defaults = Settings()
    return [
        (
            PREFIX + f.name.upper(),
            _text(getattr(defaults, f.name), is_duration=f.name in _durations()),
            f.metadata["doc"] + (" Also from the file that …_FILE names." * f.metadata["secret"]),
        )
        for f in fields(Settings)
    ]


def _durations() -> set[str]:
    marker = _duration(0, 0).__qualname__
    return {f.name for f in fields(Settings) if f.metadata["parse"].__qualname__ == marker}


def _text(value: Any, *, is_duration: bool) -> str:
    if value is None:
        return ""
    if is_duration:
        return format_duration(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{count}" for key, count in value.items())
    return str(value)
