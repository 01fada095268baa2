"""What ``--json`` prints: models with stable field names, described in docs/json.md.

Every field is always there; one that says nothing is ``null``. Times are text,
``2026-01-31T12:00:00.000Z``: UTC, to the millisecond. Durations are numbers, with the
unit in the name.
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer

from shared.clock import from_ms


def _utc(moment: datetime) -> str:
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(_utc, return_type=str, when_used="json")]
"""An aware time."""


class Output(BaseModel):
    """Something that a command prints for machines."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def moment(milliseconds: int | None) -> datetime | None:
    """Return a time (ms since the Unix epoch); none for ``None`` or 0."""
    return from_ms(milliseconds) if milliseconds else None


def path_text(path: Path) -> str:
    """Return a path as text; bytes that are no text become question marks."""
    return os.fsencode(path).decode(errors="replace")


def json_text(output: Output | Sequence[Output]) -> str:
    """Return what a command prints, in one line."""
    if isinstance(output, Output):
        return json.dumps(output.model_dump(mode="json"))
    return json.dumps([each.model_dump(mode="json") for each in output])
