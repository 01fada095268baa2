"""``mpc-participant register``: from a token to an identity."""

import asyncio
import os
import sys
from pathlib import Path

import click

from participant.cli.app import App, given_password, password_options, say
from participant.cli.outputs import NewIdentity
from participant.config import settings_text
from participant.dataplane.addresses import split_address
from participant.home import secret_file
from participant.home.folder import Home
from participant.home.identities import FIRST
from participant.protocol.identity import Identity
from participant.service import presence
from participant.service.registering import Application
from participant.service.registering import register as register_now
from participant.service.running import connect, context
from shared import token as tokens
from shared.cli import closing, json_output
from shared.crypto.derivation import fingerprint_text
from shared.errors import ConfigError
from shared.names import Io, Role
from shared.output import json_text, path_text

MAX_TOKEN_BYTES = 4096


@click.command(
    epilog=closing(
        "mpc-participant register --token-file analyst.token",
        "mpc-participant register --token-file - --attr location=miami < server.token",
        codes={
            3: "the token is malformed, or the home is taken",
            4: "the broker or the manager does not answer",
            5: "the manager refused the token",
        },
    )
)
@click.option(
    "--token-file",
    type=click.Path(allow_dash=True, dir_okay=False, path_type=str),
    metavar="FILE",
    help="Read the token from FILE, or from stdin if FILE is '-'.",
)
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    help="Only for tokens that do not say it.",
)
@click.option(
    "--io",
    type=click.Choice([io.value for io in Io]),
    help="Only for tokens that do not say it.",
)
@click.option(
    "--attr",
    "attributes",
    multiple=True,
    metavar="NAME=VALUE",
    help="location, csp, operator; cpus and ram (GiB) are found unless given.",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    help="Where an MPC server listens; kept in the settings.",
)
@click.option(
    "--advertise",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Where others reach it; kept in the settings.",
)
@click.option(
    "--broker-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="PEM of the broker's authority, if the broker does not show it.",
)
@click.option(
    "--password", "asks_password", is_flag=True, help="Ask for a key file's password."
)
@json_output(NewIdentity)
@password_options
@click.pass_obj
def register(
    app: App,
    token_file: str | None,
    role: str | None,
    io: str | None,
    attributes: tuple[str, ...],
    listen: tuple[str, ...],
    advertise: tuple[str, ...],
    broker_ca: Path | None,
    asks_password: bool,
    as_json: bool,
    password_file: Path | None,
    password_fd: int | None,
) -> None:
    """Register a new participant with a token, and print its name.

    Without --token-file the token is asked for on the terminal. With a password the
    key file is useless to whoever copies it; ``run`` then asks for the password. A
    default home that has an identity already takes the new one beside it.
    """
    home = app.new_home()
    password = given_password(password_file, password_fd)
    if asks_password and password is None:
        password = _new_password()
    for address in (*listen, *(a for a in advertise if ":" in a)):
        split_address(address)
    identity = enrol(
        home,
        read_token(token_file),
        password,
        role=None if role is None else Role(role),
        io=None if io is None else Io(io),
        attributes=_pairs(attributes),
        broker_ca=None if broker_ca is None else broker_ca.read_text(),
    )
    kept = settings_text({"listen": listen, "advertise": advertise})
    if kept:
        text = ""
        if home.settings_path.exists():
            text = _without(home.settings_path.read_text(), ("listen", "advertise"))
        secret_file.write(home.settings_path, (kept + text).encode())
    app.use(home.path)
    number = app.place.number_of(home.path)
    if number > FIRST:
        say(f"this is identity {number}: --identity {identity.principal}")
    say(f"registered as {identity.principal}; next: {app.next_step(identity.io)}")
    made = NewIdentity(
        principal=identity.principal,
        number=number,
        home=path_text(home.path),
        realm=identity.realm.name,
        fingerprint=fingerprint_text(identity.realm.fingerprint),
    )
    click.echo(json_text(made) if as_json else identity.principal)


def enrol(
    home: Home,
    text: str,
    password: bytes | None,
    *,
    role: Role | None = None,
    io: Io | None = None,
    attributes: dict[str, str] | None = None,
    broker_ca: str | None = None,
) -> Identity:
    """Register with a token and say in which realm.

    Raises:
        FrameworkError: why not; the same token may be tried again.
    """
    token = tokens.parse(text)
    wanted = token.role or role
    if wanted is None:
        raise ConfigError(
            "the token does not say what it is for",
            "say it with --role mpcs, or --role client --io input|output|in/output",
        )
    if role not in {None, wanted} or io not in {None, token.io or io}:
        raise ConfigError(
            f"the token is for a {wanted}"
            + (f" with io {token.io}" if token.io else ""),
            "leave --role and --io out, or ask for another token",
        )
    application = Application(
        token=token,
        role=wanted,
        io=token.io or io,
        prefix=None,
        attributes=presence.attributes(attributes or {}),
        broker_ca=broker_ca,
    )
    with home.lock():
        identity = asyncio.run(
            register_now(home, application, password, connect, context)
        )
    say(f"realm {identity.realm.name}, fingerprint:")
    say(f"  {fingerprint_text(identity.realm.fingerprint)}")
    return identity


def read_token(source: str | None) -> str:
    """Return the token from a file, stdin or the terminal.

    Raises:
        ConfigError: there is none.
    """
    if source is None:
        if not sys.stdin.isatty():
            raise ConfigError(
                "no token was given", "use --token-file FILE, or '-' for stdin"
            )
        typed: str = click.prompt("token", hide_input=True, err=True)
        return typed
    try:
        if source == "-":
            return sys.stdin.readline(MAX_TOKEN_BYTES)
        with Path(source).open("rb") as stream:
            return os.fsdecode(stream.read(MAX_TOKEN_BYTES))
    except OSError as error:
        raise ConfigError(
            f"cannot read the token: {error.strerror}",
            "name the file with the line that 'mpc-manager token create' printed",
        ) from error


def _new_password() -> bytes:
    text: str = click.prompt(
        "password for the new key file",
        hide_input=True,
        confirmation_prompt=True,
        err=True,
    )
    return text.encode()


def _pairs(attributes: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for attribute in attributes:
        name, separator, value = attribute.partition("=")
        if not separator:
            raise click.UsageError(f"--attr {attribute}: write NAME=VALUE")
        pairs[name.strip()] = value.strip()
    return pairs


def _without(text: str, names: tuple[str, ...]) -> str:
    """Return a settings file's lines but those of some settings."""
    lines = [
        line
        for line in text.splitlines(keepends=True)
        if line.partition("=")[0].strip() not in names
    ]
    return "".join(lines)
