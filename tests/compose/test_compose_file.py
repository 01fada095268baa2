"""What docker-compose.yml promises: closed containers, and secrets only where they belong."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from manager.config import ManagerSettings
from participant.config import ParticipantSettings
from shared.config import ENVIRONMENT_PREFIX, Settings
from shared.transport.endpoint import parse_endpoints
from tests.cli.test_documented_commands import unknown

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
PAGE = (ROOT / "docs" / "compose.md").read_text()
EXAMPLES = sorted((ROOT / "docs" / "examples" / "compose").glob("*.env"))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STEPS = {name for name, of in SERVICES.items() if of.get("entrypoint") == ["setup"]}
OURS = {name for name, of in SERVICES.items() if of["image"] == "mpc-management"}

BROKERS = ["broker1", "broker2", "broker3"]
SETUP = (ROOT / "docker" / "setup").read_text()

_VARIABLE = re.compile(r"\$\{([A-Z_]+)")
_SECRET = re.compile(r"password|secret|token|credential|cookie", re.IGNORECASE)


def mounts(service: str) -> dict[str, str]:
    """Return what a service mounts, by the path where it is."""
    found = {}
    for line in SERVICES[service].get("volumes", ()):
        # `${NAME:-default}` holds a colon too.
        source, path = re.sub(r"\$\{[^}]*\}", "…", line).split(":")[:2]
        found[path] = source
    return found


def mounted_by(volume: str) -> set[str]:
    """Return the services that mount a volume."""
    return {name for name in SERVICES if volume in mounts(name).values()}


def networks(of: dict[str, Any]) -> list[str]:
    """Return the networks of a service."""
    found: list[str] = of.get("networks", ["default"])
    return found


def settings_of(name: str) -> type[Settings]:
    """Return whose settings a service's environment holds."""
    of = SERVICES[name]
    is_participant = of.get("entrypoint") == ["participant"]
    return ParticipantSettings if is_participant else ManagerSettings


def lines_of(example: Path) -> Iterator[tuple[str, str]]:
    """Yield the variables of an example file."""
    for line in example.read_text().splitlines():
        name, _, value = line.partition("=")
        yield name, value


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_write_nothing_but_its_volumes_and_has_no_rights(
    name: str,
) -> None:
    """Who breaks into one container finds little to go on with."""
    of = SERVICES[name]

    assert of["read_only"] is True
    assert of["user"] == "999:999"
    assert of["cap_drop"] == ["ALL"]
    assert of["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(of)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_says_whether_it_is_well(name: str) -> None:
    """What waits for it must know; a step says it by its exit code."""
    of = SERVICES[name]

    assert (name in STEPS) == of["healthcheck"].get("disable", False)
    assert name in STEPS or of["healthcheck"]["test"][0] == "CMD"
    assert (name in STEPS) == ("restart" not in of)


def test_ports_are_published_on_the_loopback_address_unless_somebody_says_else() -> (
    None
):
    """A demo on a laptop must not be reached from the café."""
    ports = [port for of in SERVICES.values() for port in of.get("ports", ())]

    assert ports
    assert [port for port in ports if not port.startswith("${BIND:-127.0.0.1}:")] == []


@pytest.mark.parametrize("name", SERVICES)
def test_no_environment_holds_a_secret(name: str) -> None:
    """Whoever may inspect a container reads its environment."""
    environment = SERVICES[name].get("environment", {})
    named = {key for key in environment if _SECRET.search(key)}

    assert named <= {
        "MPC_BROKER_CREDENTIALS_FILE",
        "MPC_STORE_PASSWORD_FILE",
        "POSTGRES_PASSWORD_FILE",
    }
    assert not any(
        re.search(r"//[^/]*:[^/]*@", value) for value in environment.values()
    )


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_setting_of_the_environment_is_one_of_the_program(name: str) -> None:
    """A name that is no setting would be passed over in silence."""
    found = {
        key.removeprefix(ENVIRONMENT_PREFIX).lower()
        for key in SERVICES[name].get("environment", {})
        if key.startswith(ENVIRONMENT_PREFIX)
    }

    assert found <= set(settings_of(name).model_fields)


def test_a_secret_is_mounted_only_where_it_is_needed() -> None:
    """All containers run as one user: volumes keep them apart."""
    tokens = {name for name in FILE["volumes"] if name.endswith("-token")}

    assert mounted_by("root") == {"realm"}
    assert mounted_by("cluster-root") == {"cluster-realm"}
    assert mounted_by("manager1") == {"cluster-realm", "manager1", "cluster-tokens"}
    assert mounted_by("manager2") == {"cluster-realm", "manager2"}
    assert mounted_by("cluster-node") == {"cluster-setup", *BROKERS}
    assert mounted_by("database") == {"database"}
    assert mounted_by("database-password") == {
        "cluster-setup",
        "database",
        "cluster-realm",
        "manager1",
        "manager2",
        "cluster-tokens",
    }
    assert mounted_by("manager") == {"realm", "manager", "tokens"}
    assert mounted_by("broker-node") == {"broker-setup", "broker"}
    assert mounted_by("broker-access") == {"broker-setup", "realm", "manager", "tokens"}
    assert len(tokens) == 7
    for token in tokens:
        whose = token.removesuffix("-token")
        assert mounted_by(token) == {"tokens", "cluster-tokens", whose}


def test_what_is_in_clear_is_on_a_network_of_its_own() -> None:
    """The managers ask the database without TLS; nobody else is on that network."""
    members = {name for name, of in SERVICES.items() if "database" in networks(of)}
    url = FILE["x-managers"]["MPC_STORE_URL"]

    assert "@database:" in url
    assert FILE["networks"] == {"database": {"internal": True}}
    assert members == {
        "database",
        "cluster-realm",
        "manager1",
        "manager2",
        "cluster-tokens",
    }
    assert networks(SERVICES["database"]) == ["database"]


def test_managers_know_all_nodes_of_the_broker() -> None:
    """One that was left out would be of no use when it is the one that is left."""
    settings = ManagerSettings.model_validate(
        {
            key.removeprefix(ENVIRONMENT_PREFIX).lower(): value
            for key, value in FILE["x-managers"].items()
            if key != "MPC_REALM"
        }
    )
    broker, management = settings.broker_url, settings.broker_management_url

    assert broker is not None
    assert management is not None
    nodes = [each.host for each in parse_endpoints(broker, settings.vhost)]
    assert nodes == [urlsplit(url).hostname for url in management.split(",")] == BROKERS
    assert [SERVICES[name]["hostname"] for name in BROKERS] == BROKERS
    for name in BROKERS:
        assert f"--host {name}" in SETUP
        assert f"--node {name}" in SETUP


def test_every_volume_is_declared_and_used_and_a_home_is_nobody_elses() -> None:
    """Two participants in one home would be one participant."""
    used = {source for name in SERVICES for source in mounts(name).values()}
    homes = [
        mounts(name)["/mpc/home"]
        for name in OURS
        if "entrypoint" in SERVICES[name]
        and SERVICES[name]["entrypoint"] == ["participant"]
    ]

    assert set(FILE["volumes"]) == {name for name in used if re.match(r"[a-z]", name)}
    assert len(homes) == len(set(homes)) == 9


def test_every_volume_lies_on_a_folder_that_its_user_owns() -> None:
    """A volume takes the owner of the folder under it; root's would be closed."""
    made = re.search(r"-m 0700 (.+?)\nENV", DOCKERFILE, re.DOTALL)
    assert made is not None
    folders = {f"/mpc/{name}" for name in made[1].replace("\\", " ").split()}
    wanted = {path for name in OURS for path in mounts(name)}

    assert {path for path in wanted if not path.startswith("/mpc/data")} <= folders
    assert folders <= wanted


def test_the_image_runs_as_nobody_special_and_holds_no_secret() -> None:
    """It may be given to anybody."""
    users = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    variables = re.findall(r"^(?:ARG|ENV) (.+)$", DOCKERFILE, re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)

    assert users == ["999:999"]
    assert not any(_SECRET.search(line) for line in variables)
    assert not any(name in {".", "./"} for line in copied for name in line.split()[:-1])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_names_a_profile_and_variables_that_there_are(example: Path) -> None:
    """An organisation edits it and nothing else."""
    lines = dict(lines_of(example))
    profiles = {name for of in SERVICES.values() for name in of["profiles"]}

    assert len(lines) <= 4
    assert lines["COMPOSE_PROFILES"] == example.stem
    assert example.stem in profiles
    assert set(lines) - {"COMPOSE_PROFILES"} <= set(_VARIABLE.findall(TEXT))


def test_every_profile_has_an_example_but_the_one_that_is_set() -> None:
    """`up` alone starts the whole demo."""
    profiles = {name for of in SERVICES.values() for name in of["profiles"]}

    assert profiles - {"demo"} == {example.stem for example in EXAMPLES}
    assert "COMPOSE_PROFILES=demo" in (ROOT / ".env").read_text().splitlines()


def test_every_variable_is_described() -> None:
    """What may be set is on one page."""
    described = set(re.findall(r"`([A-Z_]+)`", PAGE))

    assert set(_VARIABLE.findall(TEXT)) <= described


def test_the_page_names_services_that_there_are() -> None:
    """A reader copies these lines."""
    named = set(
        re.findall(r"docker compose (?:exec|run)(?: -\S+| --rm)* ([a-z-]+)", PAGE)
    ) | set(re.findall(r"docker compose (?:logs|restart) ([a-z-]+)", PAGE))

    assert named
    assert named <= set(SERVICES)


def commands() -> list[str]:
    """Return the commands of our programs that the pages run in containers."""
    text = PAGE + (ROOT / "README.md").read_text()
    found = re.findall(r"docker compose exec(?: -T)? \S+ (mpc-\S+ [^>\n`]+)", text) + [
        f"mpc-participant {rest}"
        for rest in re.findall(
            r"docker compose run(?: --rm| -T)* (?:analyst|server|source) ([^<\n`]+)",
            text,
        )
    ]
    return sorted({line.strip() for line in found})


@pytest.mark.parametrize("line", commands())
def test_a_command_in_a_container_is_understood(line: str) -> None:
    """Readers copy these lines where no engine has tried them."""
    assert unknown(shlex.split(line)) is None


@pytest.mark.parametrize("script", ["setup", "participant"])
def test_a_script_of_the_image_is_whole(script: str) -> None:
    """The shell reads it to its end before anybody starts a container."""
    path = ROOT / "docker" / script

    assert path.stat().st_mode & 0o111
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
