"""Logging on stderr: one JSON object a line, or a readable line on a terminal.

The event is a fixed string, the rest are fields::

    log = logging.getLogger(__name__)
    log.info("offer accepted", extra={"job_id": "…", "sender": "MPC_server_001"})

Bytes are never printed, only their length: they may be a key or a share.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from shared.errors import ConfigError
from shared.printable import printable

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("auto", "console", "json")
"""How a line looks; ``auto`` is ``console`` on a terminal, else ``json``."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_QUIET = {"pika": logging.CRITICAL, "asyncio": logging.WARNING}
"""Libraries whose own story is of no use below this; the transport tells pika's."""


def _plain(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return str(value)


_ENCODER = json.JSONEncoder(default=_plain, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and value is not None
    }


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``event``, fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        entry: dict[str, object] = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _ENCODER.encode(entry)


class ConsoleFormatter(logging.Formatter):
    """A line for people: time, level, event, then ``name=value`` each."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, and the trace if there is one below it."""
        fields = " ".join(
            f"{name}={_plain(value)}" for name, value in _fields(record).items()
        )
        line = (
            f"{_time(record):%H:%M:%S} {record.levelname.lower():<7} "
            f"{record.getMessage()} {fields}"
        ).rstrip()
        # A field must not be able to forge a line, nor to command the terminal.
        line = printable(line.replace("\n", "\\n").replace("\r", "\\r"))
        if record.exc_info:
            return f"{line}\n{self.formatException(record.exc_info)}"
        return line


def configure(level: str, stream: TextIO | None = None, form: str = "auto") -> None:
    """Send all log records from this level up to a stream, in its form.

    Calling it again replaces what it did before.

    Args:
        level: one of ``LEVELS``.
        stream: stderr unless given.
        form: one of ``FORMATS``.

    Raises:
        ConfigError: there is no such level or form.
    """
    if level not in LEVELS:
        raise ConfigError(
            f"{level!r} is not a log level", f"choose one of {', '.join(LEVELS)}"
        )
    if form not in FORMATS:
        raise ConfigError(
            f"{form!r} is not a form of log lines",
            f"choose one of {', '.join(FORMATS)}",
        )
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    is_console = target.isatty() if form == "auto" else form == "console"
    handler.setFormatter(ConsoleFormatter() if is_console else JsonFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        if getattr(old, "_is_ours", False):
            root.removeHandler(old)
    handler._is_ours = True  # type: ignore[attr-defined]  # noqa: SLF001 - our mark
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)
