"""A participant's settings; docs/operations.md explains each to its owner."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from shared.config import Duration, Settings, environment_of, load

DEFAULT_HOME = Path("~/.mpc/participant")
SETTINGS_FILE = "participant.toml"
DEFAULT_LISTEN = ("0.0.0.0:1270",)

Port = Annotated[int, Field(ge=1, le=65535)]
PositiveDuration = Annotated[Duration, Field(gt=timedelta(0))]


class ParticipantSettings(Settings):
    """Everything that an owner may set.

    Attributes:
        home: the identity's folder; not settable in the file, which lies in it.
        listen: where an MPC server listens, ``host:port``.
        advertise: where others reach it, ``host`` or ``host:port``; unset for the
            address that leads to the broker.
        port_tries: how many ports from the asked one on are tried.
        slots: how many jobs an MPC server computes at a time.
        status_interval: between two signs of life.
        reply_timeout: how long the manager may take to answer.
        log_level: the least that is logged.
        log_format: ``auto`` is for people on a terminal, JSON elsewhere.
        metrics_port: where Prometheus reads figures, on the loopback address;
            nowhere unless set.
    """

    home: Path = DEFAULT_HOME
    listen: tuple[str, ...] = DEFAULT_LISTEN
    advertise: tuple[str, ...] = ()
    port_tries: Annotated[int, Field(ge=1, le=1000)] = 100
    slots: Annotated[int, Field(ge=1, le=1000)] = 2
    status_interval: PositiveDuration = timedelta(seconds=30)
    reply_timeout: PositiveDuration = timedelta(seconds=10)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"
    metrics_port: Port | None = None


def named_home(flag: Path | None) -> Path | None:
    """Return the folder that ``--home`` or else ``MPC_HOME`` names, made absolute."""
    wanted = flag or environment_of(ParticipantSettings).get("home")
    return None if wanted is None else absolute(Path(str(wanted)))


def absolute(path: Path) -> Path:
    """Return a path from the root on, with ``~`` resolved."""
    return path.expanduser().absolute()


def load_settings(
    flags: Mapping[str, object], config: Path | None = None
) -> ParticipantSettings:
    """Read a participant's settings: flags, ``MPC_…``, file, defaults.

    Args:
        flags: by field name; ``None`` where one was not given.
        config: the file, ``HOME/participant.toml`` unless given.

    Raises:
        ConfigError: a setting is unknown or not valid.
    """
    flag = flags.get("home")
    named = named_home(None if flag is None else Path(str(flag)))
    home = named or absolute(DEFAULT_HOME)
    return load(
        ParticipantSettings,
        {**flags, "home": home},
        config or home / SETTINGS_FILE,
        not_in_file=frozenset({"home"}),
    )


def settings_text(settings: Mapping[str, tuple[str, ...]]) -> str:
    """Return settings as the text of a file, one a line; empty ones are left out."""
    return "".join(
        f"{name} = {json.dumps(list(value))}\n"
        for name, value in settings.items()
        if value
    )
