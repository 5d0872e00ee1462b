"""The register of settings: forms, files, faults, all of them at once."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

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
        ("CASSANDRA_TLS", "maybe"),
        ("KEYSPACE", "games; DROP"),
        ("REPLICATION", "3"),
        ("REPLICATION", "dc1:0"),
        ("READ_CONSISTENCY", "quorum"),
        ("EXTRA_REQUESTS", "2"),
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


def test_all_faults_are_told_at_once() -> None:
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
    described = {variable: (default, doc) for variable, default, doc in describe()}
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
