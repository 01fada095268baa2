"""``mpc-manager keys``: the manager's keys, and new ones in their place."""

import secrets
import time
from pathlib import Path
from typing import Final

import click
from rich.table import Table

from manager.cli.key_output import Key, keys_output
from manager.cli.opening import open_keys, open_store
from manager.cli.root_password import root_password, root_password_options
from manager.cli.times import shown
from manager.config import ManagerSettings
from manager.realm.founding import KEY_FILE, ROOT_FILE, descriptor_of_unit
from manager.realm.keys import load_keys
from manager.realm.rotation import SIGNED, Rotated, open_root
from manager.service.rotating import Rotation, rotate_keys
from shared.cli import ExitCode, closing, json_output
from shared.clock import SystemClock, to_ms
from shared.config import parse_duration
from shared.output import json_text
from shared.printing import print_table

ALL: Final = "all"
LONGEST_WAIT_SECONDS: Final = 10.0
"""How long a manager that runs may take to go over to new keys."""
_LOOK_SECONDS: Final = 0.1


@click.group()
def keys() -> None:
    """List and rotate the manager's keys."""


@keys.command("list", epilog=closing("mpc-manager keys list"))
@json_output(list[Key])
@click.pass_obj
def list_keys(settings: ManagerSettings, as_json: bool) -> None:
    """List every key of the realm and the manager, and until when it counts."""
    held = open_keys(settings)
    with open_store(settings).reading() as unit:
        descriptor = descriptor_of_unit(unit)
    found = keys_output(descriptor, held, to_ms(SystemClock().now()))
    if as_json:
        click.echo(json_text(found))
        return
    table = Table("kind", "id", "begins", "ends", "state")
    for each in found:
        table.add_row(
            each.kind, each.id, shown(each.begins), shown(each.ends), each.state
        )
    print_table(table)


@keys.command(
    epilog=closing(
        "mpc-manager keys rotate all",
        "mpc-manager keys rotate manager --overlap 2d --root /media/safe/root.key",
        codes={
            0: "the new keys are in use",
            3: "there is no realm, or its root key is not this one",
            75: "the manager that runs has not taken them yet",
        },
    )
)
@click.argument("kind", type=click.Choice([*(kind.value for kind in Rotated), ALL]))
@click.option(
    "--overlap",
    default="14d",
    show_default=True,
    help="How long the old keys still count; 1d at least.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The realm's root key, if it is not in the home any more.",
)
@root_password_options
@click.pass_obj
def rotate(
    settings: ManagerSettings,
    kind: str,
    overlap: str,
    root: Path | None,
    root_password_file: Path | None,
    root_password_fd: int | None,
) -> int:
    """Put new keys in the place of the manager's; jobs that run go on.

    manager signs and opens envelopes, ca issues TLS certificates, sessions protects
    the store. The realm's root key signs all but sessions. A manager may run or not.
    """
    held, store = open_keys(settings), open_store(settings)
    kinds = frozenset(Rotated) if kind == ALL else frozenset({Rotated(kind)})
    signer = None
    if kinds & SIGNED:
        password = root_password(root_password_file, root_password_fd, is_new=False)
        signer = open_root(root or settings.home / ROOT_FILE, held, password)
    rotation = Rotation(kinds, signer, parse_duration(overlap))
    now = SystemClock().now()
    made = rotate_keys(settings.home, store, rotation, now, secrets.token_bytes)
    if not _is_taken(settings.home / KEY_FILE, made):
        click.echo(
            "mpc-manager: made; the manager that runs has not taken them yet", err=True
        )
        return ExitCode.NOT_READY
    click.echo("mpc-manager: the new keys are in use", err=True)
    return ExitCode.DONE


def _is_taken(path: Path, generation: int) -> bool:
    """Wait until the key file has the newest keys."""
    until = time.monotonic() + LONGEST_WAIT_SECONDS
    while load_keys(path).generation < generation:
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
