"""What the commands share: the home, the settings, passwords."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from participant.config import ParticipantSettings
from participant.home.folder import Home
from shared.errors import ConfigError

PROGRAM = "mpc-participant"
MAX_SECRET_BYTES = 4096

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class App:
    """One call of the program."""

    settings: ParticipantSettings
    log_level: str | None

    def home(self) -> Home:
        """Return the identity's folder, made if it is not there.

        Raises:
            ConfigError: it cannot be used.
        """
        return Home(self.settings.home)

    def registered_home(self) -> Home:
        """Return the identity's folder, with an identity in it.

        Raises:
            ConfigError: there is none.
        """
        home = self.home()
        if not home.is_registered:
            raise ConfigError(
                f"no information found in {home.path}: nobody is registered there",
                f"get a token from the operator, then: {PROGRAM} register",
            )
        return home


def password_options(command: _Decorated) -> _Decorated:
    """Add ``--password-file`` and ``--password-fd``, both may be ``None``."""
    command = click.option(
        "--password-fd",
        type=click.IntRange(min=0),
        metavar="N",
        help="Read the key file's password from this file descriptor.",
    )(command)
    return click.option(
        "--password-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Read the key file's password from the first line of FILE.",
    )(command)


def password_for(
    home: Home, password_file: Path | None, password_fd: int | None
) -> bytes | None:
    """Return what opens the key file; asks for it on a terminal.

    Raises:
        ConfigError: it has a password that nobody gave.
    """
    given = given_password(password_file, password_fd)
    if given is not None or not home.needs_password:
        return given
    if not sys.stdin.isatty():
        raise ConfigError(
            "the key file has a password and none was given",
            "use --password-file FILE or --password-fd N",
        )
    text: str = click.prompt("password of the key file", hide_input=True, err=True)
    return text.encode()


def given_password(password_file: Path | None, password_fd: int | None) -> bytes | None:
    """Return the password that the options name, if they do.

    Raises:
        ConfigError: it cannot be read or is empty.
    """
    if password_file is not None and password_fd is not None:
        raise ConfigError(
            "the password is named twice", "use --password-file or --password-fd"
        )
    try:
        if password_file is not None:
            data = password_file.read_bytes()[:MAX_SECRET_BYTES]
        elif password_fd is not None:
            data = os.read(password_fd, MAX_SECRET_BYTES)
        else:
            return None
    except OSError as error:
        raise ConfigError(
            f"cannot read the password: {error.strerror}",
            "see whether the file or descriptor is open and readable",
        ) from error
    line = data.split(b"\n", maxsplit=1)[0].rstrip(b"\r")
    if not line:
        raise ConfigError("the password is empty", "write it in the first line")
    return line


def say(text: str) -> None:
    """Print a line for people, on stderr."""
    click.echo(f"{PROGRAM}: {text}", err=True)
