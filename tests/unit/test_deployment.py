"""docs/deploy.md and examples/systemd say what the programs do."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from manager.broker.ports import NodePorts
from manager.config import ManagerSettings
from participant.config import DEFAULT_LISTEN, ParticipantSettings
from tests.cli.test_documented_commands import unknown

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text()
UNITS = sorted((ROOT / "examples" / "systemd").iterdir())
INSTALLED = "/opt/mpc-management/bin/"
HARDENING = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectControlGroups": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallFilter": "@system-service",
    "UMask": "0077",
    "LimitCORE": "0",
    "StateDirectoryMode": "0700",
}
_ABOUT_PORTS = re.compile(r"listen|advertise|port(?!s)")


def rows() -> list[list[str]]:
    """Return the rows of the table of everything that listens."""
    table = PAGE.partition("| listens |")[2].partition("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()[2:]
    ]


def named(text: str) -> set[str]:
    """Return what stands in code marks."""
    return set(re.findall(r"`([a-z_]+)`", text))


def test_everything_that_listens_is_in_the_table() -> None:
    """The node's ports by their names in the code, an MPC server's, and figures."""
    ports = set().union(*(named(row[0]) for row in rows()))
    servers = [row for row in rows() if row[0].startswith("MPC server")]

    assert ports == {field.name for field in fields(NodePorts)}
    assert len(servers) == 1
    assert [row[4] for row in rows() if "participants, figures" in row[0]] == [
        "`metrics_port`"
    ]
    assert len(rows()) == len(ports) + 2


def test_the_table_s_defaults_are_the_code_s() -> None:
    """What is open to others before anybody has set anything."""
    [server] = [row for row in rows() if row[0].startswith("MPC server")]
    [listen] = DEFAULT_LISTEN
    _, _, port = listen.rpartition(":")
    addresses = {row[3] for row in rows() if row != server}

    assert server[2].startswith(f"{port}, ")
    assert (server[3], listen.startswith("0.0.0.0:")) == ("all", True)
    assert addresses == {"loopback"}
    assert ManagerSettings().broker_listen is None
    assert ManagerSettings().broker_port is None
    assert ManagerSettings().metrics_port is None
    assert ParticipantSettings().metrics_port is None


def test_every_setting_about_ports_is_in_the_table() -> None:
    """And none that does not exist."""
    settings = {*ManagerSettings.model_fields, *ParticipantSettings.model_fields}
    about_ports = {name for name in settings if _ABOUT_PORTS.search(name)}
    listed = set().union(*(named(row[4]) for row in rows()))

    assert listed == about_ports


def service(unit: Path) -> Mapping[str, str]:
    """Return the settings of a unit's service."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keeps case
    parser.read(unit)
    return parser["Service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_gives_a_service_no_more_than_it_needs(unit: Path) -> None:
    """It is a user of its own, with one folder of its own, and no secret is in it."""
    found = service(unit)
    missing = {name: found.get(name) for name in HARDENING} != HARDENING

    assert not missing, unit.name
    assert found["User"] in {"mpc-manager", "mpc-participant"}
    assert found["StateDirectory"].startswith(found["User"])
    assert not {"Environment", "EnvironmentFile", "ReadWritePaths"} & set(found)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_s_commands_are_commands_that_there_are(unit: Path) -> None:
    """With the home where its user may write."""
    found = service(unit)
    commands = [found[name] for name in ("ExecStart", "ExecStop") if name in found]

    assert commands
    for command in commands:
        words = shlex.split(command.removeprefix(INSTALLED))

        assert unknown(words) is None
        assert words[words.index("--home") + 1] == f"%S/{found['StateDirectory']}"


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With the programs of this environment, which need not be installed."""
    for unit in UNITS:
        text = unit.read_text().replace(INSTALLED, f"{Path(sys.executable).parent}/")
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / unit.name) for unit in UNITS)],
        check=False,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
