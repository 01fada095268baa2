"""The password of the realm's root key: from a file, a descriptor or the prompt."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from shared.errors import ConfigError

MAX_PASSWORD_BYTES: Final = 4096


def root_password_options(command: Callable[..., object]) -> Callable[..., object]:
    """Give a command the options from which ``root_password`` takes the password."""
    from_file = click.option(
        "--root-password-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Its first line encrypts the realm's root key.",
    )
    from_descriptor = click.option(
        "--root-password-fd",
        type=int,
        metavar="N",
        help="A file descriptor to read that password from.",
    )
    return from_file(from_descriptor(command))


def root_password(file: Path | None, descriptor: int | None, *, is_new: bool) -> bytes:
    """Return the root key's password.

    Args:
        file: that holds it.
        descriptor: to read it from.
        is_new: ask twice at the prompt.

    Raises:
        ConfigError: there is none in the file or descriptor.
        UsageError: there is nobody to ask.
    """
    if file is not None:
        return _first_line(file.read_bytes())
    if descriptor is not None:
        try:
            with os.fdopen(descriptor, "rb") as stream:
                return _first_line(stream.read(MAX_PASSWORD_BYTES))
        except OSError as error:
            raise ConfigError(
                f"cannot read file descriptor {descriptor}: {error.strerror}",
                "open it for the command, such as 3<FILE with --root-password-fd 3",
            ) from error
    if not sys.stdin.isatty():
        raise click.UsageError(
            "no terminal to ask for the root key's password;"
            " give --root-password-file or --root-password-fd"
        )
    answer: str = click.prompt(
        "Password for the realm's root key",
        hide_input=True,
        confirmation_prompt=is_new,
        err=True,
    )
    return answer.encode()


def _first_line(data: bytes) -> bytes:
    password = data.split(b"\n", 1)[0].rstrip(b"\r")
    if not password:
        raise ConfigError("the password is empty", "put it on the file's first line")
    return password
