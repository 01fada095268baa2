"""``mpc-manager init`` and ``run``: making a realm and managing it."""

import secrets
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from manager.broker.access import broker_access
from manager.cli.opening import open_keys, open_store, store_place
from manager.cli.outputs import RealmMade
from manager.cli.root_password import root_password, root_password_options
from manager.config import SETTINGS_FILE, ManagerSettings
from manager.realm.founding import (
    KEY_FILE,
    LOCK_FILE,
    belongs_to,
    descriptor_of,
    init_realm,
)
from manager.realm.keys import save_keys
from manager.realm.private_files import HomeBusyError, locked, make_home
from manager.realm.rotation import is_ahead, newest_keys
from manager.service.running import run_service
from shared.cli import ExitCode, closing, json_output, print_error
from shared.clock import SystemClock
from shared.crypto.derivation import fingerprint_text
from shared.errors import ConfigError
from shared.names import Realm, check_realm
from shared.output import json_text, path_text


@click.command(
    epilog=closing(
        "mpc-manager init --realm health",
        "mpc-manager init --realm health --root-password-file password",
    )
)
@click.option("--realm", required=True, help="The realm's name; also the vhost's.")
@root_password_options
@json_output(RealmMade)
@click.pass_obj
def init(
    settings: ManagerSettings,
    realm: str,
    root_password_file: Path | None,
    root_password_fd: int | None,
    as_json: bool,
) -> None:
    """Make a realm: its root key, the manager's keys and an empty store.

    Prints the fingerprint, by which participants know the realm. The root key is
    not needed to run: keep its password, and move the file to a safe place.
    """
    name = check_realm(realm)
    make_home(settings.home)
    with locked(settings.home / LOCK_FILE):
        if (settings.home / KEY_FILE).exists():
            raise ConfigError(
                f"there is a realm already in {settings.home}",
                "name another folder with --home",
            )
        _check_settings(settings.home / SETTINGS_FILE, name)
        password = root_password(root_password_file, root_password_fd, is_new=True)
        fingerprint = init_realm(
            settings.home,
            store_place(settings),
            name,
            password,
            SystemClock().now(),
            secrets.token_bytes,
        )
        _keep_settings(settings.home / SETTINGS_FILE, name)
    text = fingerprint_text(fingerprint)
    made = RealmMade(realm=name, fingerprint=text, home=path_text(settings.home))
    click.echo(json_text(made) if as_json else text)
    click.echo(
        f"mpc-manager: realm {name} is ready in {settings.home};"
        " next: mpc-manager broker start, then mpc-manager run",
        err=True,
    )


@click.command(
    "run",
    epilog=closing(
        "mpc-manager run",
        codes={
            0: "it was told to end",
            3: "there is no realm in the home",
            4: "the broker cannot be reached",
            75: "a manager runs already in this home",
        },
    ),
)
@click.pass_obj
def run_manager(settings: ManagerSettings) -> int | None:
    """Manage the realm until Ctrl-C or SIGTERM.

    The broker must run: this starts nothing else. Of several managers with one
    PostgreSQL store one is active; the others wait and take over when it is gone.
    """
    keys = open_keys(settings)
    try:
        with locked(settings.home / LOCK_FILE), _store_to_itself(settings):
            store = open_store(settings, upgrade=True)
            try:
                with store.reading() as unit:
                    newest = newest_keys(unit, keys)
                    is_interrupted = is_ahead(unit, newest)
                if newest is not keys:
                    save_keys(settings.home / KEY_FILE, newest, secrets.token_bytes)
                if is_interrupted or not belongs_to(newest, descriptor_of(store)):
                    raise ConfigError(
                        "the key file and the store do not belong together",
                        "restore both from one backup; if a rotation of keys was"
                        " interrupted: mpc-manager keys rotate all",
                    )
                run_service(settings, broker_access(settings), store, newest)
            finally:
                store.close()
    except HomeBusyError as error:
        print_error("mpc-manager", str(error), error.hint)
        return ExitCode.NOT_READY
    return None


@contextmanager
def _store_to_itself(settings: ManagerSettings) -> Iterator[None]:
    """Keep a second home from a SQLite file: managers share a database alone.

    The lock lies beside the file itself, by whatever name each home knows it.
    """
    place = store_place(settings)
    if not isinstance(place, Path):
        yield
        return
    file = place.resolve()
    with locked(file.with_name(f"{file.name}.lock"), f"with the store {file}"):
        yield


def _check_settings(path: Path, realm: Realm) -> None:
    """Refuse settings that name another realm."""
    named = _named_realm(path)
    if named not in {None, realm}:
        raise ConfigError(
            f"{path} names the realm {named!r}", f"set realm = {str(realm)!r} there"
        )


def _keep_settings(path: Path, realm: Realm) -> None:
    """Write the realm's name where every command finds it."""
    if _named_realm(path) is None:
        before = path.read_text() if path.exists() else ""
        path.write_text(f'realm = "{realm}"\n{before}')
        path.chmod(0o600)


def _named_realm(path: Path) -> object:
    if not path.exists():
        return None
    try:
        return tomllib.loads(path.read_text()).get("realm")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}", "correct it, or remove it"
        ) from error
