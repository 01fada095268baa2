"""What the commands share: the home, the settings, passwords."""

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import click

from participant.config import (
    SETTINGS_FILE,
    ParticipantSettings,
    load_settings,
    named_home,
)
from participant.home.folder import Home
from participant.home.identities import Place, place_of
from shared import cli
from shared.config import Explained, Source, explain
from shared.errors import ConfigError
from shared.names import Io

PROGRAM = "mpc-participant"
MAX_SECRET_BYTES = 4096

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class LogFlags:
    """What the command line said of the log; ``None`` where nothing."""

    log_level: str | None = None
    log_format: str | None = None

    def arguments(self) -> list[str]:
        """Return the same flags for another program of ours."""
        return [
            argument
            for name, value in asdict(self).items()
            if value is not None
            for argument in (f"--{name.replace('_', '-')}", value)
        ]


class App:
    """One call of the program, or one prompt: who is meant, and under which settings.

    Nothing is read before a command needs it, so that ``--help`` always works.

    Args:
        place: where identities are.
        identity: the name or number that was said, if one was.
        config: the settings file that was named, if one was.
        log_flags: what was said of the log.
    """

    def __init__(
        self,
        place: Place,
        identity: str | None,
        config: Path | None,
        log_flags: LogFlags = LogFlags(),
    ) -> None:
        self.place = place
        self.identity = identity
        self.config = config
        self.log_flags = log_flags
        self._path: Path | None = None

    def next_step(self, io: Io | None) -> str:
        """Return what somebody who has just registered does next.

        Who only asks questions needs no process that waits for jobs.
        """
        return f"{PROGRAM} {'runmpc' if io is Io.OUTPUT else 'run'}"

    @property
    def settings(self) -> ParticipantSettings:
        """The settings of the identity that is meant.

        Raises:
            ConfigError: several could be, or a setting is not valid.
        """
        flags = {"home": self.path, **asdict(self.log_flags)}
        return load_settings(flags, self.config)

    def explained(self) -> tuple[Explained, ...]:
        """Return the settings, and where each comes from.

        Raises:
            ConfigError: as ``settings``.
        """
        settings = self.settings
        is_option = self.place.is_named and self.place.root != named_home(None)
        home = self.place.root if is_option else None
        flags = {**asdict(self.log_flags), "home": home}
        found = explain(settings, flags, self.config or settings.home / SETTINGS_FILE)
        if self.identity is None:
            return found
        return tuple(
            replace(each, source=Source.OPTION, where="--identity")
            if each.name == "home"
            else each
            for each in found
        )

    @property
    def path(self) -> Path:
        """The folder of the identity that is meant.

        Raises:
            ConfigError: several could be, or there is none of that name.
        """
        return self._path or self.place.choose(self.identity)

    def use(self, path: Path) -> None:
        """Mean the identity in this folder from now on."""
        self._path = path

    def new_home(self) -> Home:
        """Return the folder for a new identity.

        Raises:
            ConfigError: an identity was named, or the folder cannot be used.
        """
        if self.identity is not None:
            raise ConfigError(
                "a new identity has no name or number yet", "leave --identity out"
            )
        return Home(self.place.place_for_new())

    def home(self) -> Home:
        """Return the identity's folder, made if it is not there.

        Raises:
            ConfigError: it cannot be used, or several could be meant.
        """
        return Home(self.settings.home)

    def registered_home(self) -> Home:
        """Return the identity's folder, with an identity in it.

        Raises:
            ConfigError: there is none.
        """
        home = self.home()
        home.check_registered()
        return home


def app_of(
    home: Path | None,
    identity: str | None,
    config: Path | None,
    log_flags: LogFlags = LogFlags(),
) -> App:
    """Return a call of the program, by its options."""
    return App(place_of(home), identity, config, log_flags)


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
    cli.say(PROGRAM, text)
