"""Where RabbitMQ's programs and our settings for it lie on this machine.

The settings are the files of ``broker_config/``, the same for a private node
and a container. In a checkout (also after ``pip install -e``) they are found
beside the import roots; an installed package has its copy under the
environment's ``share/mpc-management/broker_config`` (see ``data-files`` in
``pyproject.toml``). No second copy is kept in the repository.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigError

ROOT_VARIABLE = "MPC_RABBITMQ_ROOT"
"""Names a folder that holds ``usr/lib/rabbitmq`` and ``usr/lib/erlang``."""

_PROJECT = Path(__file__).resolve().parents[2]
_INSTALLED = Path(sys.prefix) / "share" / "mpc-management"
_SERVER = Path("usr/lib/rabbitmq/bin/rabbitmq-server")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HINT = (
    "run 'make setup' in the project's folder, or use a RabbitMQ in a container"
    " and name it with --broker-url (MPC_BROKER_URL)"
)


@dataclass(frozen=True, slots=True)
class RabbitPrograms:
    """A RabbitMQ server and the Erlang that it runs on."""

    server: Path
    control: Path
    epmd: Path
    search_path: str
    """What ``PATH`` must be, so that RabbitMQ finds its Erlang."""
    library_path: str | None
    """What ``LD_LIBRARY_PATH`` must be, for an unpacked one."""


def find_programs(environment: Mapping[str, str] | None = None) -> RabbitPrograms:
    """Find a RabbitMQ: the one named, the system's, or the unpacked one.

    Args:
        environment: ``os.environ`` unless given.

    Raises:
        ConfigError: there is none.
    """
    named = (os.environ if environment is None else environment).get(ROOT_VARIABLE)
    if named:
        programs = _programs_under(Path(named))
        if programs is None:
            raise ConfigError(f"{ROOT_VARIABLE}={named} holds no RabbitMQ", _HINT)
        return programs
    for root in (Path("/"), _PROJECT / ".rabbitmq", Path.cwd() / ".rabbitmq"):
        programs = _programs_under(root)
        if programs is not None:
            return programs
    raise ConfigError("no RabbitMQ server is installed", _HINT)


def _programs_under(root: Path) -> RabbitPrograms | None:
    root = root.resolve()
    server = root / _SERVER
    epmd = root / "usr/bin/epmd"
    if not os.access(server, os.X_OK) or not os.access(epmd, os.X_OK):
        return None
    is_system = root == Path("/")
    libraries = [] if is_system else [*root.glob("usr/lib/*-linux-*"), root / "usr/lib"]
    return RabbitPrograms(
        server=server,
        control=server.with_name("rabbitmqctl"),
        epmd=epmd,
        search_path=(
            _SYSTEM_PATH
            if is_system
            else f"{root / 'usr/bin'}:{server.parent}:{_SYSTEM_PATH}"
        ),
        library_path=":".join(map(str, libraries)) if libraries else None,
    )


def broker_config(name: str) -> str:
    """Return the text of a file of ``broker_config/``.

    Raises:
        ConfigError: it is neither beside the code nor installed.
    """
    for folder in (_PROJECT, _INSTALLED):
        path = folder / "broker_config" / name
        if path.is_file():
            return path.read_text()
    raise ConfigError(
        f"the file broker_config/{name} is missing",
        "install the package anew, or run from a whole checkout",
    )


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, unless it is there.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make {path}: {error.strerror}", "name another folder"
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, all of it or nothing.

    Raises:
        ConfigError: it cannot be written; what was there is unchanged.
    """
    try:
        # mkstemp makes it 0600.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", "free the space or the folder"
        ) from error


def read_json(path: Path) -> dict[str, object]:
    """Return the object that a JSON file holds.

    Raises:
        ConfigError: it is missing, unreadable or holds something else.
    """
    try:
        content: object = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read {path}", "see that it is there and whole"
        ) from (error)
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not a JSON object", "restore it from a copy")
    return content
