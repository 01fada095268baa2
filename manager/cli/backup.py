"""``mpc-manager backup`` and ``restore``: a manager in one file."""

import secrets
from pathlib import Path

import click

from manager.cli.opening import store_place
from manager.config import ManagerSettings, load_settings
from manager.realm import backup as backups
from manager.realm.private_files import check_private
from shared.cli import closing, version
from shared.clock import SystemClock
from shared.errors import ConfigError


@click.command(
    epilog=closing(
        "mpc-manager backup realm.backup",
        codes={0: "FILE was written", 3: "no realm in the home, or FILE is there"},
    )
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(settings: ManagerSettings, file: Path) -> None:
    """Write a backup of the manager to FILE, which must not be there; it may run.

    FILE holds the manager's keys and the broker's, as open as they lie in the home:
    whoever has it can be the manager. It holds no session.
    """
    check_private(settings.home)
    contents = backups.back_up(
        settings.home,
        _file(settings),
        file.absolute(),
        version(),
        SystemClock().now(),
        secrets.token_bytes,
    )
    _tell(f"{file} holds realm {contents.realm}: {', '.join(contents.files)}")
    for elsewhere in (settings.broker_credentials_file, settings.broker_ca_file):
        if elsewhere is not None:
            _tell(f"{elsewhere} is not in it: the settings name it, keep a copy")


@click.command(
    epilog=closing(
        "mpc-manager restore realm.backup",
        "mpc-manager --home new restore realm.backup",
        codes={0: "the realm is back", 3: "the home is in use, or FILE no backup"},
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def restore(settings: ManagerSettings, file: Path) -> None:
    """Bring a manager back from the backup FILE, in a home where there is nothing.

    Its participants keep their identities and log on anew; who registered after the
    backup was made registers again.
    """

    def database_of(path: Path) -> Path:
        return _file(load_settings({"home": settings.home}, path))

    restored = backups.restore(
        file, settings.home, database_of, SystemClock().now(), secrets.token_bytes
    )
    contents = restored.contents
    created = contents.created.isoformat()
    _tell(f"realm {contents.realm} of {created} is back in {settings.home}")
    _tell(f"{restored.participants} participants get their broker user anew")
    if restored.without_password:
        _tell(f"these must register again: {', '.join(restored.without_password)}")
    _tell("who was revoked after that is not: revoke them again")
    _tell("next: mpc-manager broker start, then mpc-manager run")


def _file(settings: ManagerSettings) -> Path:
    place = store_place(settings)
    if not isinstance(place, Path):
        raise ConfigError(
            f"the store is the database {place}: a backup holds a file",
            "keep the database safe by its own means, and copy the home",
        )
    return place


def _tell(text: str) -> None:
    click.echo(f"mpc-manager: {text}", err=True)
