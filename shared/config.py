"""Settings: a flag wins over the environment, that over a file, that over a default.

A program derives its settings from ``Settings``; ``load`` reads them. A name in
the file that is no setting is refused, so that a slip of the pen is seen. (In
the environment it cannot be: other programs' variables begin alike.)
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, unique
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.errors import ConfigError
from shared.suggestion import did_you_mean

ENVIRONMENT_PREFIX = "MPC_"

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_DURATION = re.compile(r"([0-9]{1,9}) ?(ms|s|m|h|d)")


def parse_duration(text: str) -> timedelta:
    """Return a duration such as ``500ms``, ``90s``, ``5m``, ``1h`` or ``7d``.

    Raises:
        ConfigError: it is something else; the unit is never left out.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"{text!r} is not a duration", "write a number and ms, s, m, h or d: 90s"
        )
    return int(found[1]) * _UNITS[found[2]]


def _as_duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ConfigError as error:
            raise ValueError(f"{error}; {error.hint}") from error
    raise ValueError("a duration is a number and ms, s, m, h or d, in quotes")


Duration = Annotated[timedelta, BeforeValidator(_as_duration)]
"""A ``timedelta`` that is written as ``parse_duration`` reads it."""


class Settings(BaseSettings):
    """Root of each program's settings. ``load`` makes them, with their sources."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - load merges it
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not used
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not used
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what ``load`` has merged, and nothing behind its back."""
        return (init_settings,)


Kind = TypeVar("Kind", bound=Settings)


def load(
    kind: type[Kind],
    flags: Mapping[str, object],
    file: Path | None = None,
    not_in_file: frozenset[str] = frozenset(),
) -> Kind:
    """Read settings from all their sources.

    Args:
        kind: the program's settings.
        flags: by field name; ``None`` means that the flag was not given.
        file: TOML; one that does not exist holds nothing.
        not_in_file: settings that have no place in the file.

    Raises:
        ConfigError: a setting is unknown or not valid, or the file cannot be read.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    in_environment = environment_of(kind)
    in_file = {} if file is None else _read_file(file)
    known = set(kind.model_fields) - not_in_file
    for name in in_file:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r} in {file}", _near(name, known))
    try:
        return kind.model_validate({**in_file, **in_environment, **given})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        source = _source(name, given, in_environment, file)
        reason = first["msg"].removeprefix("Value error, ")
        reason = reason[:1].lower() + reason[1:]
        raise ConfigError(
            f"{name or 'settings'}: {reason}" + (f" ({source})" if source else ""),
            "correct the value; docs/operations.md lists every setting",
        ) from error


@unique
class Source(StrEnum):
    """Where the value of a setting comes from."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    OPTION = "option"


@dataclass(frozen=True, slots=True)
class Explained:
    """A setting. ``where``: the option, variable or file that says it."""

    name: str
    value: object
    source: Source
    where: str | None


def explain(
    settings: Settings, flags: Mapping[str, object], file: Path
) -> tuple[Explained, ...]:
    """Return every setting with where its value comes from.

    Args:
        settings: as ``load`` read them.
        flags: those that the user gave; ``None`` means that one was not given.
        file: the one that was read, if it exists.

    Raises:
        ConfigError: the file cannot be read any more.
    """
    in_environment = environment_of(type(settings))
    in_file = _read_file(file)
    found = []
    for name, value in settings:
        source, where = Source.DEFAULT, None
        if flags.get(name) is not None:
            source, where = Source.OPTION, f"--{name.replace('_', '-')}"
        elif name in in_environment:
            source, where = Source.ENVIRONMENT, f"{ENVIRONMENT_PREFIX}{name.upper()}"
        elif name in in_file:
            source, where = Source.FILE, str(file)
        found.append(Explained(name, value, source, where))
    return tuple(found)


def duration_text(duration: timedelta) -> str:
    """Return a duration as ``parse_duration`` reads it, in its largest whole unit."""
    name, unit = max(
        (
            (name, unit)
            for name, unit in _UNITS.items()
            if duration % unit == timedelta() and duration >= unit
        ),
        key=lambda entry: entry[1],
        default=("ms", _UNITS["ms"]),
    )
    return f"{duration // unit}{name}"


def environment_of(kind: type[Settings]) -> dict[str, object]:
    """Return what the environment says of these settings, by field name."""
    return dict(EnvSettingsSource(kind)())


def _source(
    name: str,
    given: Mapping[str, object],
    in_environment: Mapping[str, object],
    file: Path | None,
) -> str:
    if name in given:
        return f"from --{name.replace('_', '-')}"
    if name in in_environment:
        return f"from {ENVIRONMENT_PREFIX}{name.upper()}"
    return f"from {file}" if name and file is not None else ""


def _read_file(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(
            f"cannot read {file}: {error.strerror}", "see who owns it and its mode"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} is not TOML: {error}", "write one setting a line: name = value"
        ) from error


def _near(name: str, known: set[str]) -> str:
    return did_you_mean(name, known) or f"the settings are {', '.join(sorted(known))}"
