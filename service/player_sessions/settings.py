"""The one register of settings: each is a field of `Settings` and an environment variable.

The setting `x` is read from `PLAYER_SESSIONS_X`; a secret may also stand in a file that
`PLAYER_SESSIONS_X_FILE` names. An unknown variable or a bad value is refused, and all errors are
reported at once. docs/settings.md is made from the fields' types and descriptions.
"""

from __future__ import annotations

import functools
import ipaddress
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, inspect, structs

PREFIX = "PLAYER_SESSIONS_"
_DEVELOPMENT = f"{PREFIX}DEV_"  # read by dev/, not by the service
# A Kubernetes Service named player-sessions puts such variables into every pod of its namespace.
# Their values are checked too, so that a misspelt …_PORT of ours does not pass for one of them.
_SERVICE_LINK = re.compile(
    r"\w+(_SERVICE_HOST=.*|_SERVICE_PORT(_\w+)?=\d+|_PORT(_\d+_(TCP|UDP))?=(tcp|udp)://.*"
    r"|_PORT_\d+_(TCP|UDP)_(PROTO|PORT|ADDR)=.*)"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)\Z")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_ORIGIN = (
    r"^(\*|(?!http:.*:80\Z|https:.*:443\Z)[a-z][a-z0-9+.-]*://"
    r"([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?)\Z"
)
_HOST = re.compile(r"(?!-)[\w-]{1,63}(\.(?!-)[\w-]{1,63})*\.?")
_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


class InvalidSettings(ValueError):
    """Some settings are unknown or bad; the message has one line for each."""


def format_duration(seconds: float) -> str:
    """Return the duration as settings write it: `365d`, `1.5s`, `200ms`."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:g}ms"


def _read_duration(text: str) -> float:
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(text)
    return float(match[1]) * _UNITS[match[2]]


def _read_switch(text: str) -> bool:
    if text not in _SWITCH:
        raise ValueError(text)
    return _SWITCH[text]


def _read_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _read_hosts(text: str) -> list[str]:
    names = _read_names(text)
    if not all(_HOST.fullmatch(name) or _is_address(name) for name in names):
        raise ValueError(text)
    return names


def _read_origins(text: str) -> list[str]:
    origins = _read_names(text)
    if "*" in origins and len(origins) > 1:
        raise ValueError(text)
    return origins


def _read_replication(text: str) -> dict[str, str]:
    pairs = (part.strip().partition(":") for part in text.split(","))
    return {name: factor for name, _, factor in pairs}


# A type's `read` turns the variable's text into what msgspec converts and checks; `values` says in
# words what is allowed, where the type alone cannot say it.
Duration = Annotated[float, Meta(extra={"read": _read_duration})]
Switch = Annotated[bool, Meta(extra={"read": _read_switch, "values": "on or off"})]
Port = Annotated[int, Meta(ge=0, le=65535)]
Hosts = Annotated[
    tuple[str, ...],
    Meta(
        min_length=1,
        extra={
            "read": _read_hosts,
            "values": "host names or IP addresses with commas between them, without ports",
        },
    ),
]
# An origin is written as browsers send it, or it would never be equal to one.
Origins = Annotated[
    tuple[Annotated[str, Meta(pattern=_ORIGIN)], ...],
    Meta(
        extra={
            "read": _read_origins,
            "values": "* alone, or origins with commas between them, such as"
            " https://play.example.com (lower case, no path, no slash at the end, no default port)",
        }
    ),
]
Replication = Annotated[
    dict[Annotated[str, Meta(pattern=r"^[\w.-]+\Z")], Annotated[int, Meta(ge=1, le=15)]],
    Meta(
        extra={
            "read": _read_replication,
            "values": "datacenters with their factors, such as dc1:3,dc2:3",
        }
    ),
]
Identifier = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9_]{0,47}\Z",
        extra={"values": "1-48 of a-z, 0-9 and _, the first a letter"},
    ),
]
Secret = Annotated[str, Meta(extra={"secret": True})]
Consistency = Literal["LOCAL_QUORUM", "LOCAL_ONE", "QUORUM", "EACH_QUORUM", "ALL", "ONE"]
_DAY = 86400.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of the service. Durations are in seconds."""

    http_host: Annotated[
        Hosts,
        Meta(
            description="Addresses to listen on, for both ports. 0.0.0.0 is every IPv4 address. ::"
            " is every IPv6 address and, unless an IPv4 address is named too, every IPv4 address."
        ),
    ] = ("127.0.0.1",)
    http_port: Annotated[
        Port,
        Meta(description="Port to listen on, the same at every address; 0 takes any free port."),
    ] = 8080
    operations_port: Annotated[
        Port | None,
        Meta(
            description="Separate port for health and metrics. When it is empty, the HTTP port"
            " serves them."
        ),
    ] = None
    auth: Annotated[
        Literal["auto", "off"],
        Meta(
            description="auto: keys are required when there is a keys file, and without one the"
            " service listens on a loopback address only. off: no keys are required on any address."
        ),
    ] = "auto"
    keys_file: Annotated[
        str, Meta(description="File with the hashed keys. It is read again when it changes.")
    ] = ""
    max_connections: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Most HTTP connections open at once; a further one gets 503.",
        ),
    ] = 10_000
    head_timeout: Annotated[
        Duration,
        Meta(
            ge=0.5,
            le=600,
            description="Time a client has to send a request's head before it is disconnected.",
        ),
    ] = 10.0
    max_head_bytes: Annotated[
        int,
        Meta(
            ge=8192,
            le=1 << 20,
            description="Most bytes of a request outside its body: its head, the sizes and"
            " extensions of its chunks, and its trailers. A larger request gets 431.",
        ),
    ] = 65536
    idle_timeout: Annotated[
        Duration,
        Meta(ge=0.5, le=3600, description="Time a connection may wait for its next request."),
    ] = 75.0
    write_timeout: Annotated[
        Duration,
        Meta(
            ge=0.5,
            le=600,
            description="Time a client has to take an answer before it is disconnected; while the"
            " service stops, at most a third of the drain timeout.",
        ),
    ] = 15.0
    cors_origins: Annotated[
        Origins,
        Meta(
            description="Origins whose pages may call the service from a browser (CORS); * allows"
            " every origin. When it is empty, only pages of the service's own origin may call."
        ),
    ] = ()
    docs: Annotated[
        Switch,
        Meta(description="Serve the page for people at /, and /docs with the OpenAPI description."),
    ] = True

    cassandra_contact_points: Annotated[
        Hosts,
        Meta(description="Addresses of some Cassandra nodes; the other nodes are discovered."),
    ] = ("127.0.0.1",)
    cassandra_port: Annotated[
        int, Meta(ge=1, le=65535, description="Native protocol port of Cassandra.")
    ] = 9042
    cassandra_local_dc: Annotated[
        str, Meta(description="Datacenter whose nodes the service queries.")
    ] = "dc1"
    cassandra_username: Annotated[
        str, Meta(description="User name for Cassandra; without one the service does not log in.")
    ] = ""
    cassandra_password: Annotated[Secret, Meta(description="Password for Cassandra.")] = ""
    cassandra_tls: Annotated[Switch, Meta(description="Connect to Cassandra with TLS.")] = False
    cassandra_tls_ca_file: Annotated[
        str,
        Meta(
            description="PEM file of the certificate authorities for Cassandra; when it is empty,"
            " the system's authorities are used."
        ),
    ] = ""
    cassandra_tls_cert_file: Annotated[
        str, Meta(description="PEM file of the service's client certificate.")
    ] = ""
    cassandra_tls_key_file: Annotated[
        str, Meta(description="PEM file of the client certificate's key.")
    ] = ""
    cassandra_tls_server_name: Annotated[
        str,
        Meta(
            description="Name that every node's certificate must carry; when it is empty, the"
            " certificate must carry the node's address."
        ),
    ] = ""
    cassandra_tls_check_name: Annotated[
        Switch,
        Meta(description="Check the name in the certificate. The log warns when this is off."),
    ] = True

    keyspace: Annotated[Identifier, Meta(description="Keyspace of the service.")] = (
        "player_sessions"
    )
    replication: Annotated[
        Replication,
        Meta(description="Replication factor of each datacenter, used by `schema apply`."),
    ] = msgspec.field(default_factory=lambda: {"dc1": 1})
    retention: Annotated[
        Duration,
        Meta(
            ge=5,
            le=7300 * _DAY,
            description="How long an event is kept and listed, counted from its own time.",
        ),
    ] = 365 * _DAY
    online_for: Annotated[
        Duration,
        Meta(
            ge=1,
            le=7300 * _DAY,
            description="How long from its start a session without an end shows its player online.",
        ),
    ] = _DAY
    country_hours: Annotated[
        int,
        Meta(
            ge=0,
            le=8760,
            description="How many hours the starts per country are kept for and can be asked for; 0"
            " stores none of them and switches their route off.",
        ),
    ] = 168
    country_shards: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="Into how many partitions the starts per country of one hour are spread.",
        ),
    ] = 8
    role_name: Annotated[
        str,
        Meta(
            description="Role that `schema apply` creates for the service; without a name it"
            " creates none."
        ),
    ] = ""
    role_password: Annotated[
        Secret, Meta(description="Password of the role that `schema apply` creates.")
    ] = ""

    read_consistency: Annotated[Consistency, Meta(description="Consistency level of reads.")] = (
        "LOCAL_QUORUM"
    )
    write_consistency: Annotated[Consistency, Meta(description="Consistency level of writes.")] = (
        "LOCAL_QUORUM"
    )
    deadline: Annotated[
        Duration,
        Meta(
            ge=0.05,
            le=60,
            description="Time Cassandra has to answer before the request gets 503.",
        ),
    ] = 2.0
    speculation_after: Annotated[
        Duration,
        Meta(ge=0.001, le=60, description="How long to wait before asking a second node too."),
    ] = 0.2
    extra_requests: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Most retries and speculative requests, as a share of the requests of the"
            " last minute.",
        ),
    ] = 0.1

    writer_batch_rows: Annotated[
        int,
        Meta(
            ge=10,
            le=1000,
            description="Most rows in one group commit; limits of the server may lower it. A start"
            " is up to two rows, an end is one.",
        ),
    ] = 192
    writer_batches_in_flight: Annotated[
        int, Meta(ge=1, le=1000, description="Most group commits in flight at once.")
    ] = 8
    writer_queue_rows: Annotated[
        int,
        Meta(
            ge=10,
            le=1_000_000,
            description="Most rows that may wait for a group commit; further requests get 503.",
        ),
    ] = 5000
    queue_wait: Annotated[
        Duration,
        Meta(
            ge=0.01,
            le=60,
            description="Longest expected wait for a group commit, at most half the deadline."
            " When the wait would be longer, a request gets 503 before its body is read.",
        ),
    ] = 1.0
    reads_in_flight: Annotated[
        int,
        Meta(ge=1, le=10_000, description="Most reads in flight at once; a further one gets 503."),
    ] = 256

    player_ids: Annotated[
        Literal["any", "uuid"],
        Meta(
            description="any: a player id is 1-128 printable characters. uuid: every player id must"
            " be a UUID."
        ),
    ] = "any"
    future_tolerance: Annotated[
        Duration,
        Meta(ge=0, le=_DAY, description="How far in the future an event's time may lie."),
    ] = 300.0
    max_batch_events: Annotated[
        int,
        Meta(
            ge=1,
            le=500,
            description="Most events in one batch; a larger batch gets 422. Above 256 events, raise"
            " PLAYER_SESSIONS_MAX_BODY_BYTES too: it must have room for 256 bytes per event, which"
            " are 128000 bytes (125 KiB) for 500.",
        ),
    ] = 10
    max_body_bytes: Annotated[
        int,
        Meta(
            ge=1024, le=1 << 24, description="Size of the largest request body; a larger gets 413."
        ),
    ] = 65536
    body_timeout: Annotated[
        Duration,
        Meta(ge=0.1, le=600, description="Time a client has to send its body before it gets 408."),
    ] = 5.0
    drain_delay: Annotated[
        Duration,
        Meta(
            ge=0,
            le=600,
            description="Time from SIGTERM until the listener closes; requests are still served.",
        ),
    ] = 0.0
    drain_timeout: Annotated[
        Duration,
        Meta(ge=0, le=600, description="Longest wait for requests in flight when stopping."),
    ] = 15.0
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Meta(description="Lowest level that is logged."),
    ] = "INFO"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="auto: readable text on a terminal, JSON elsewhere."),
    ] = "auto"

    @property
    def retention_ms(self) -> int:
        return round(self.retention * 1000)

    def masked(self) -> dict[str, Any]:
        """Return all values by name for the log, each secret that is set as `***`."""
        values = structs.asdict(self)
        return {
            name: "***" if values[name] and "secret" in kind.extra else values[name]
            for name, kind in _kinds().items()
        }


class _Kind(msgspec.Struct, frozen=True):
    """What the type of a setting says: its shape, its description and what we added to it."""

    type: Any
    shape: inspect.Type
    description: str
    extra: dict[str, Any]

    def convert(self, text: str) -> Any:
        """Return the value of a variable's text; raises ValueError, which says what is allowed."""
        try:
            read = self.extra.get("read")
            value = msgspec.convert(read(text) if read else text, self.type, strict=False)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(text)
        except ValueError:  # msgspec's errors are ValueErrors as well
            raise ValueError(f"must be {self.values}") from None
        return value

    @property
    def values(self) -> str:
        """What is allowed, in words."""
        shape = self.shape
        if "values" in self.extra:
            return str(self.extra["values"])
        if isinstance(shape, inspect.LiteralType):
            return " or ".join(map(str, shape.values))
        if isinstance(shape, inspect.FloatType) and "read" in self.extra:
            least, most = format_duration(shape.ge or 0), format_duration(shape.le or 0)
            return f"a duration from {least} to {most}"
        if isinstance(shape, inspect.IntType | inspect.FloatType):
            number = "a whole number" if isinstance(shape, inspect.IntType) else "a number"
            return f"{number} from {shape.ge} to {shape.le}"
        return "text"


@functools.cache
def _kinds() -> dict[str, _Kind]:
    """The kind of every setting, by its name."""
    kinds = {}
    for field in structs.fields(Settings):
        extra: dict[str, Any] = {}
        description, shape = "", inspect.type_info(field.type)
        while isinstance(shape, inspect.Metadata | inspect.UnionType):
            if isinstance(shape, inspect.Metadata):
                extra |= shape.extra or {}
                description = description or (shape.extra_json_schema or {}).get("description", "")
                shape = shape.type
            else:  # an optional value
                shape = next(t for t in shape.types if not isinstance(t, inspect.NoneType))
        kinds[field.name] = _Kind(field.type, shape, description, extra)
    return kinds


def load(environ: Mapping[str, str]) -> Settings:
    """Return the settings of this environment; raises InvalidSettings with a line per error."""
    known = {PREFIX + name.upper(): name for name in _kinds()}
    files = {f"{v}_FILE": name for v, name in known.items() if "secret" in _kinds()[name].extra}
    values: dict[str, Any] = {}
    errors: list[str] = []
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable.startswith(_DEVELOPMENT):
            continue
        name = known.get(variable) or files.get(variable)
        try:
            if name is None:
                if not _SERVICE_LINK.fullmatch(f"{variable}={text}"):
                    raise ValueError("no such setting; `player-sessions settings` lists them")
            elif name in values:
                raise ValueError(f"set as well as {variable.removesuffix('_FILE')}; keep one")
            else:
                text = Path(text).read_text().rstrip("\r\n") if variable in files else text
                values[name] = _kinds()[name].convert(text)
        except (ValueError, OSError) as error:
            errors.append(f"{variable}: {error}")
    if not errors:
        errors = _contradictions(Settings(**values))
    if errors:
        raise InvalidSettings("\n".join(errors))
    return Settings(**values)


def _contradictions(settings: Settings) -> list[str]:
    """Return what each setting allows by itself but not together with another."""
    errors = []
    pairs = (
        ("cassandra_username", "cassandra_password"),
        ("role_name", "role_password"),
        ("cassandra_tls_cert_file", "cassandra_tls_key_file"),
    )
    for one, other in pairs:
        if bool(getattr(settings, one)) != bool(getattr(settings, other)):
            errors.append(f"{PREFIX}{one.upper()}: set it together with {PREFIX}{other.upper()}")
    for name in ("ca_file", "cert_file", "key_file"):
        path = getattr(settings, f"cassandra_tls_{name}")
        if path and not Path(path).is_file():
            errors.append(f"{PREFIX}CASSANDRA_TLS_{name.upper()}: no such file: {path}")
    if settings.speculation_after > settings.deadline:
        errors.append(f"{PREFIX}SPECULATION_AFTER: must not exceed {PREFIX}DEADLINE")
    if settings.operations_port and settings.operations_port == settings.http_port:
        errors.append(f"{PREFIX}OPERATIONS_PORT: leave it empty to share {PREFIX}HTTP_PORT")
    if settings.auth == "off" and settings.keys_file:
        errors.append(f"{PREFIX}AUTH: off, although {PREFIX}KEYS_FILE is set; keep one")
    open_hosts = [host for host in settings.http_host if not _is_loopback(host)]
    if settings.auth != "off" and not settings.keys_file and open_hosts:
        errors.append(
            f"{PREFIX}HTTP_HOST: anyone may call {open_hosts[0]}, which is not a loopback address:"
            f" set {PREFIX}KEYS_FILE (`player-sessions keys new` makes a key) or {PREFIX}AUTH=off"
        )
    return errors + _too_small_for_batches(settings)


def _too_small_for_batches(settings: Settings) -> list[str]:
    """Return the limits that a batch beyond the usual 10 events would pass.

    An event has some 170 bytes, and more with fields that we ignore. A start makes two rows.
    """
    events = settings.max_batch_events
    needed = {"max_body_bytes": 256 * events, "writer_queue_rows": 2 * events}
    return [
        f"{PREFIX}{name.upper()}: batches of {events} events need {least} or more; raise it, or"
        f" lower {PREFIX}MAX_BATCH_EVENTS"
        for name, least in needed.items()
        if events > 10 and getattr(settings, name) < least
    ]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def describe() -> list[tuple[str, str, str, str]]:
    """Return (variable, default, allowed values, description) of every setting."""
    defaults = Settings()
    rows = []
    for name, kind in _kinds().items():
        also = " Or name a file with it in …_FILE." if "secret" in kind.extra else ""
        default = _text(getattr(defaults, name), kind)
        rows.append((PREFIX + name.upper(), default, kind.values, kind.description + also))
    return rows


def _text(value: Any, kind: _Kind) -> str:
    """Return a value as its variable would be written."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float) and "read" in kind.extra:
        return format_duration(value)
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, dict):
        return ",".join(f"{key}:{count}" for key, count in value.items())
    return str(value)
