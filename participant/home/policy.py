"""The owner's rules, in ``policy.toml``; without the file, the defaults hold.

::

    accept = "all"                  # or "none"
    consumers = ["Analytics001"]    # absent: any consumer of the realm
    statistics = ["mean", "count"]  # absent: any
    min_servers = 3
    required_servers = ["MPC_server_001"]
    denied_servers = []
    pins = "first-use"              # or "listed"

    [keys]                          # SHA-256 of identity keys, in hex
    Analytics001 = "6f0e…"
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, ValidationError

from participant.protocol.consent import PinRule, Policy
from participant.protocol.identity import Pin
from participant.protocol.pins import read_pin
from shared.errors import ConfigError


class PolicyFile(BaseModel):
    """What the file may say."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    accept: Literal["all", "none"] = "all"
    consumers: frozenset[str] | None = None
    statistics: frozenset[str] | None = None
    min_servers: Annotated[int, Ge(2), Le(64)] = 2
    required_servers: frozenset[str] = frozenset()
    denied_servers: frozenset[str] = frozenset()
    pins: PinRule = PinRule.FIRST_USE
    keys: dict[str, str] = {}


def load(path: Path, statistics: frozenset[str]) -> Policy:
    """Return the policy in a file, or the default where there is none.

    Args:
        path: the file.
        statistics: the names that there are; others are a slip of the pen.

    Raises:
        ConfigError: it cannot be read or says something else.
    """
    if not path.exists():
        return Policy()
    try:
        read = PolicyFile.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", "see who owns it and its mode"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path}: {where}: {first['msg'].lower()}",
            "docs/operations.md lists what a policy may say",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not TOML: {error}", "write one rule a line: name = value"
        ) from error
    unknown = sorted((read.statistics or frozenset()) - statistics)
    if unknown:
        raise ConfigError(
            f"{path}: there is no statistic {unknown[0]!r}",
            f"the statistics are {', '.join(sorted(statistics))}",
        )
    return Policy(
        accepts=read.accept == "all",
        consumers=read.consumers,
        statistics=read.statistics,
        required=read.required_servers,
        denied=read.denied_servers,
        min_servers=read.min_servers,
        pins=read.pins,
        listed=tuple(_pin(path, name, text) for name, text in read.keys.items()),
    )


def _pin(path: Path, name: str, text: str) -> Pin:
    try:
        return read_pin(name, text)
    except ConfigError as error:
        raise ConfigError(f"{path}: keys: {error}", error.hint) from error
