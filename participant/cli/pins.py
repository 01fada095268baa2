"""``mpc-participant pins``: whose identity keys its owner holds others to."""

import asyncio
from pathlib import Path

import click
from rich.table import Table

from participant.cli.app import App, password_for, password_options, say
from participant.cli.completion import pinned_names
from participant.cli.outputs import PinnedKey
from participant.protocol.pins import read_pin, with_pin, without_pin
from participant.service.pinning import change_pins, pins_of
from shared.cli import closing, json_output
from shared.output import json_text
from shared.printing import print_table

_CODES = {
    3: "another key is pinned under the name, none is, or the key file does not open"
}


@click.group()
def pins() -> None:
    """Say whose identity keys are right, whatever the manager says.

    A job in which a principal has another key than its pin is refused. Keys that
    nobody listed are pinned where they are first seen, or refused if policy.toml has
    pins = "listed".
    """


@pins.command(
    epilog=closing(
        "mpc-participant pins add Analytics001 6f0e…64-hexadecimal-digits…",
        codes=_CODES,
    )
)
@click.argument("name")
@click.argument("key_hash", metavar="HASH")
@password_options
@click.pass_obj
def add(
    app: App,
    name: str,
    key_hash: str,
    password_file: Path | None,
    password_fd: int | None,
) -> None:
    """Hold NAME to the identity key with this SHA-256.

    ``mpc-participant status`` shows the HASH at that party; get it by another way
    than this realm's.
    """
    pin = read_pin(name, key_hash)
    home = app.registered_home()
    asyncio.run(
        change_pins(
            home,
            lambda: password_for(home, password_file, password_fd),
            {"op": "pin", "principal": name, "key_hash": pin.key_hash.hex()},
            lambda identity, policy: with_pin(identity, policy, pin),
        )
    )
    say(f"{name} is held to {pin.key_hash.hex()}")


@pins.command("list", epilog=closing("mpc-participant pins list"))
@password_options
@json_output(list[PinnedKey])
@click.pass_obj
def list_pins(
    app: App, as_json: bool, password_file: Path | None, password_fd: int | None
) -> None:
    """List whose keys are pinned, and by whom."""
    home = app.registered_home()
    pinned = asyncio.run(
        pins_of(home, lambda: password_for(home, password_file, password_fd))
    )
    found = [PinnedKey.model_validate(each) for each in pinned]
    if as_json:
        click.echo(json_text(found))
        return
    table = Table("principal", "SHA-256 of its identity key", "pinned by")
    for each in found:
        table.add_row(each.principal, each.key_hash, each.origin)
    print_table(table)


@pins.command(epilog=closing("mpc-participant pins remove Analytics001", codes=_CODES))
@click.argument("name", shell_complete=pinned_names)
@password_options
@click.pass_obj
def remove(
    app: App, name: str, password_file: Path | None, password_fd: int | None
) -> None:
    """Hold NAME to no key; the next that is seen is pinned, or has to be listed."""
    home = app.registered_home()
    asyncio.run(
        change_pins(
            home,
            lambda: password_for(home, password_file, password_fd),
            {"op": "unpin", "principal": name},
            lambda identity, policy: without_pin(identity, policy, name),
        )
    )
    say(f"{name} is held to no key")
