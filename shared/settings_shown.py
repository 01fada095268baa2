"""``config show``: every setting with its value, and where that comes from."""

import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Final

import click
from pydantic import JsonValue, SecretBytes, SecretStr
from rich.table import Table
from rich.text import Text

from shared.config import Explained, Source, duration_text
from shared.output import Output, json_text, path_text
from shared.printing import print_table

REDACTED: Final = "(redacted)"

_PARAMETER: Final = r"[?&][^=&]*(?:pass|secret|token|key)[^=&]*="
# Who writes a password into a URL does not always escape it: it goes up to the last @.
_USER: Final = re.compile(r"(?<=://).*@", re.DOTALL)
_SECRET_PARAMETER: Final = re.compile(f"({_PARAMETER})[^&]*", re.IGNORECASE)
# Whether that @ ends a user or is part of the parameter nobody can tell.
_EITHER: Final = re.compile(f"(?<=://).*{_PARAMETER}.*@.*", re.IGNORECASE | re.DOTALL)


class Setting(Output):
    """A setting of a program.

    Attributes:
        name: as files write it.
        value: as files write it, without secrets; null if unset.
        source: what says so.
        where: the option, the variable or the file.
    """

    name: str
    value: JsonValue
    source: Source
    where: str | None


def print_settings(explained: Iterable[Explained], *, as_json: bool) -> None:
    """Print settings on stdout."""
    found = [
        Setting(
            name=each.name,
            value=written(each.value),
            source=each.source,
            where=each.where,
        )
        for each in explained
    ]
    if as_json:
        click.echo(json_text(found))
        return
    table = Table("setting")
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for each in found:
        table.add_row(
            each.name, Text(_words(each.value)), Text(each.where or each.source)
        )
    print_table(table)


def written(value: object) -> JsonValue:
    """Return a setting's value as a file writes it, without what is secret in it."""
    match value:
        case None | bool() | int() | float():
            return value
        case timedelta():
            return duration_text(value)
        case Path():
            return path_text(value)
        case SecretStr() | SecretBytes():
            return REDACTED
        case list() | tuple() | set() | frozenset():
            return [written(each) for each in value]
        case dict():
            return {str(name): written(each) for name, each in value.items()}
        case _:
            text = _EITHER.sub(REDACTED, str(value))
            text = _USER.sub(f"{REDACTED}@", text)
            return _SECRET_PARAMETER.sub(rf"\1{REDACTED}", text)


def _words(value: JsonValue) -> str:
    if value is None:
        return "unset"
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return str(value)
