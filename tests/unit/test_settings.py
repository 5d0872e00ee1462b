"""The register of settings: forms of values, values from files, and all errors at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import fields

from player_sessions.settings import (
    PREFIX,
    InvalidSettings,
    Settings,
    describe,
    format_duration,
    load,
)


def given(**variables: str) -> Settings:
    return load({PREFIX + name: value for name, value in variables.items()})


def faults(**variables: str) -> list[str]:
    with pytest.raises(InvalidSettings) as refused:
        given(**variables)
    return str(refused.value).splitlines()


def test_without_variables_the_defaults_hold() -> None:
    assert given() == Settings()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("365d", 31_536_000), ("2h", 7200), ("90m", 5400), ("7.5s", 7.5), ("5000ms", 5)],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert given(RETENTION=text).retention == seconds
    assert given(RETENTION=format_duration(seconds)).retention == seconds


def test_values_of_other_kinds_are_read() -> None:
    settings = given(
        CASSANDRA_CONTACT_POINTS="a, b,",
        REPLICATION="dc1:3, dc-2:2",
        CASSANDRA_TLS="true",
        HTTP_PORT="0",
        EXTRA_REQUESTS="0.25",
        READ_CONSISTENCY="LOCAL_ONE",
    )
    assert settings.cassandra_contact_points == ("a", "b")
    assert settings.replication == {"dc1": 3, "dc-2": 2}
    assert (settings.cassandra_tls, settings.http_port) == (True, 0)
    assert (settings.extra_requests, settings.read_consistency) == (0.25, "LOCAL_ONE")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETENTION", "365"),
        ("RETENTION", "1s"),
        ("RETENTION", "8000d"),
        ("HTTP_PORT", "http"),
        ("HTTP_PORT", "65536"),
        ("CASSANDRA_PORT", "0"),
        ("CASSANDRA_CONTACT_POINTS", " , "),
        ("CASSANDRA_CONTACT_POINTS", ""),
        ("CASSANDRA_CONTACT_POINTS", "games.example:9042"),
        ("CASSANDRA_CONTACT_POINTS", "10.0.0.1,10.0.0.2:9042"),
        ("CASSANDRA_CONTACT_POINTS", "[::1]:9042"),
        ("CASSANDRA_CONTACT_POINTS", "[::1]"),
        ("CASSANDRA_CONTACT_POINTS", "cql://games.example"),
        ("CASSANDRA_CONTACT_POINTS", "one two"),
        ("CASSANDRA_CONTACT_POINTS", "games..example"),
        ("CASSANDRA_CONTACT_POINTS", "-games.example"),
        ("CASSANDRA_CONTACT_POINTS", "x" * 64),
        ("CASSANDRA_TLS", "maybe"),
        ("KEYSPACE", "games; DROP"),
        ("REPLICATION", "3"),
        ("REPLICATION", "dc1:0"),
        ("READ_CONSISTENCY", "quorum"),
        ("EXTRA_REQUESTS", "2"),
        ("EXTRA_REQUESTS", "nan"),
        ("HTTP_PORT", ""),
        ("HTTP_PORT", "80.5"),
        ("OPERATIONS_PORT", "65536"),
        ("REPLICATION", "dc1:16"),
        ("REPLICATION", "d c1:1"),
        ("REPLICATION", ""),
        ("DRAIN_DELAY", "-1s"),
        ("RETENTION", "365d\n"),
        ("KEYSPACE", "games\n"),
        ("LOG_LEVEL", "loud"),
        ("CASSANDRA_TLS_CA_FILE", "/nowhere/ca.pem"),
        ("CASSANDRA_USERNAME", "alone"),
        ("ROLE_PASSWORD", "alone"),
        ("SPECULATION_AFTER", "3s"),
        ("RETENTOIN", "365d"),
        ("HTTP_PORT_FILE", "/etc/hostname"),
    ],
)
def test_a_bad_or_unknown_value_is_refused_with_its_name(name: str, value: str) -> None:
    (fault,) = faults(**{name: value})
    assert f"{PREFIX}{name}" in fault


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("::1", ("::1",)),
        ("127.0.0.1, ::1", ("127.0.0.1", "::1")),
        ("127.0.0.2,localhost", ("127.0.0.2", "localhost")),
    ],
)
def test_loopback_addresses_of_both_families_need_no_key(text: str, hosts: tuple[str, ...]) -> None:
    assert given(HTTP_HOST=text).http_host == hosts


@pytest.mark.parametrize(
    ("text", "open_host"),
    [
        ("::", "::"),
        ("0.0.0.0", "0.0.0.0"),
        ("127.0.0.1,::", "::"),
        ("::1,192.0.2.1", "192.0.2.1"),
        ("::1,fd00::7,127.0.0.1", "fd00::7"),
        ("127.0.0.1,games.example.com", "games.example.com"),
    ],
)
def test_each_address_that_is_not_a_loopback_address_needs_keys(text: str, open_host: str) -> None:
    (refusal,) = faults(HTTP_HOST=text)
    assert refusal.startswith(f"{PREFIX}HTTP_HOST: anyone may call {open_host}, which is not")
    assert given(HTTP_HOST=text, AUTH="off").http_host


@pytest.mark.parametrize(
    "text", ["", " , ", "[::1]", "127.0.0.1:8080", "::1:x", "http://127.0.0.1", "::1 127.0.0.1"]
)
def test_what_is_no_list_of_addresses_is_refused(text: str) -> None:
    (refusal,) = faults(HTTP_HOST=text)
    assert refusal.startswith(
        f"{PREFIX}HTTP_HOST: must be host names or IP addresses with commas between them"
    )


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        ("https://play.example.com", ("https://play.example.com",)),
        ("http://127.0.0.1:3000, http://[::1]", ("http://127.0.0.1:3000", "http://[::1]")),
        ("capacitor://localhost", ("capacitor://localhost",)),
    ],
)
def test_origins_are_read_as_browsers_send_them(text: str, origins: tuple[str, ...]) -> None:
    assert given(CORS_ORIGINS=text).cors_origins == origins


@pytest.mark.parametrize(
    "text",
    [
        "play.example.com",
        "https://play.example.com/",
        "https://play.example.com/game",
        "https://Play.example.com",
        "https://play.example.com:443",
        "http://play.example.com:80",
        "https://*.example.com",
        "https://user@play.example.com",
        "https://",
        "null",
        "*,https://play.example.com",
        "https://play.example.com https://other.example.com",
        "https://play.example.com\nX-Evil: 1",
    ],
)
def test_what_no_browser_sends_as_an_origin_is_refused(text: str) -> None:
    (refusal,) = faults(CORS_ORIGINS=text)
    assert refusal.startswith(f"{PREFIX}CORS_ORIGINS: must be * alone, or origins with commas")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("HTTP_PORT", "http", "a whole number from 0 to 65535"),
        ("EXTRA_REQUESTS", "2", "a number from 0 to 1"),
        ("DEADLINE", "2", "a duration from 50ms to 1m"),
        ("CASSANDRA_TLS", "maybe", "on or off"),
        ("LOG_LEVEL", "loud", "DEBUG or ERROR or INFO or WARNING"),
        (
            "CASSANDRA_CONTACT_POINTS",
            "games.example:9042",
            "host names or IP addresses with commas between them, without ports",
        ),
        ("KEYSPACE", "7", "1-48 of a-z, 0-9 and _, the first a letter"),
    ],
)
def test_a_refusal_says_what_is_allowed(name: str, value: str, allowed: str) -> None:
    assert faults(**{name: value}) == [f"{PREFIX}{name}: must be {allowed}"]


@pytest.mark.parametrize(
    "name",
    ["localhost", "dc1-service.games.svc.cluster.local.", "a_b", "10.0.0.1", "::1", "fe80::1%eth0"],
)
def test_a_contact_point_is_a_host_name_or_an_address(name: str) -> None:
    assert given(CASSANDRA_CONTACT_POINTS=name).cassandra_contact_points == (name,)


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"MAX_BATCH_EVENTS": "256"}, None),
        ({"MAX_BATCH_EVENTS": "257"}, "MAX_BODY_BYTES: batches of 257 events need 65792 or more"),
        ({"MAX_BATCH_EVENTS": "500", "MAX_BODY_BYTES": "128000"}, None),
        (
            {"MAX_BATCH_EVENTS": "100", "WRITER_QUEUE_ROWS": "199"},
            "WRITER_QUEUE_ROWS: batches of 100 events need 200 or more",
        ),
        ({"MAX_BATCH_EVENTS": "10", "MAX_BODY_BYTES": "1024", "WRITER_QUEUE_ROWS": "10"}, None),
        ({"MAX_BATCH_EVENTS": "0"}, "MAX_BATCH_EVENTS: must be a whole number from 1 to 500"),
        ({"MAX_BATCH_EVENTS": "501"}, "MAX_BATCH_EVENTS: must be a whole number from 1 to 500"),
    ],
)
def test_the_other_limits_have_room_for_the_largest_batch(
    changes: dict[str, str], refused: str | None
) -> None:
    if refused is None:
        assert given(**changes).max_batch_events == int(changes["MAX_BATCH_EVENTS"])
    else:
        (fault,) = faults(**changes)
        assert fault.startswith(f"{PREFIX}{refused}")


def test_all_errors_are_reported_at_once() -> None:
    assert len(faults(HTTP_PORT="x", LOG_LEVEL="x", NO_SUCH="x")) == 3


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("it's\n")
    settings = given(CASSANDRA_USERNAME="games", CASSANDRA_PASSWORD_FILE=str(file))
    assert settings.cassandra_password == "it's"
    assert settings.masked()["cassandra_password"] == "***"
    assert "it's" not in str(settings.masked())


def test_a_secret_from_file_and_variable_or_from_no_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("x")
    both = faults(CASSANDRA_USERNAME="u", CASSANDRA_PASSWORD="x", CASSANDRA_PASSWORD_FILE=str(file))
    assert "keep one" in both[0]
    (missing,) = faults(CASSANDRA_USERNAME="u", CASSANDRA_PASSWORD_FILE="/nowhere")
    assert "No such file" in missing


def test_what_kubernetes_and_development_add_is_ignored() -> None:
    added = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "80",
        "SERVICE_PORT_HTTP": "80",
        "PORT": "tcp://10.0.0.1:80",
        "PORT_80_TCP": "tcp://10.0.0.1:80",
        "PORT_80_TCP_ADDR": "10.0.0.1",
        "DEV_HOME": "/x",
    }
    assert given(**added) == Settings()


@pytest.mark.parametrize("name", ["HTP_PORT", "CASANDRA_PORT", "SERVICE_PORT_X"])
def test_a_misspelt_port_does_not_pass_for_one_of_kubernetes(name: str) -> None:
    assert faults(**{name: "none"})[0].startswith(f"{PREFIX}{name}: no such setting")


def test_every_setting_is_described_with_its_default() -> None:
    described = {variable: (default, doc) for variable, default, _, doc in describe()}
    assert described.keys() == {PREFIX + f.name.upper() for f in fields(Settings)}
    assert all(doc.endswith(".") for _, doc in described.values())
    assert described[PREFIX + "RETENTION"][0] == "365d"
    assert described[PREFIX + "REPLICATION"][0] == "dc1:1"
    assert described[PREFIX + "CASSANDRA_TLS"][0] == "off"
    assert "_FILE" in described[PREFIX + "CASSANDRA_PASSWORD"][1]
    assert (
        given(
            **{
                variable.removeprefix(PREFIX): default
                for variable, (default, _) in described.items()
                if default
            }
        )
        == Settings()
    )
