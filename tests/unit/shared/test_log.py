"""The form of log lines."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from shared.errors import ConfigError
from shared.log import configure


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Return true."""
        return True


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_one_json_object_with_its_fields() -> None:
    """Event, level, logger and time always; fields as they were given."""
    stream = io.StringIO()
    configure("info", stream)
    logging.getLogger("manager.service").info(
        "offer accepted", extra={"sender": "MPC_server_001", "elapsed_ms": 12}
    )
    entry = json.loads(stream.getvalue())
    time = entry.pop("time")

    assert time.endswith("+00:00")
    assert entry == {
        "level": "info",
        "logger": "manager.service",
        "event": "offer accepted",
        "sender": "MPC_server_001",
        "elapsed_ms": 12,
    }


def test_bytes_are_never_printed() -> None:
    """They may be a key."""
    stream = io.StringIO()
    configure("info", stream)
    logging.getLogger("x").info("got", extra={"body": b"secret", "field": None})
    entry = json.loads(stream.getvalue())

    assert entry["body"] == "<6 bytes>"
    assert "field" not in entry


def test_records_below_the_level_are_left_out() -> None:
    """``debug`` is off in production."""
    stream = io.StringIO()
    configure("warning", stream)
    logging.getLogger("x").info("story")

    assert stream.getvalue() == ""


def test_configuring_again_replaces() -> None:
    """No line comes twice."""
    first, second = io.StringIO(), io.StringIO()
    configure("info", first)
    configure("info", second)
    logging.getLogger("x").info("once")

    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_an_exception_is_a_field() -> None:
    """One line stays one line."""
    stream = io.StringIO()
    configure("info", stream)
    try:
        int("broken")
    except ValueError:
        logging.getLogger("x").exception("failed")
    [line] = stream.getvalue().splitlines()

    assert "ValueError: invalid" in json.loads(line)["exception"]


def test_a_terminal_gets_lines_for_people() -> None:
    """And a field cannot forge a line of its own, nor command the terminal."""
    stream = Terminal()
    configure("info", stream)
    try:
        int("broken")
    except ValueError:
        logging.getLogger("x").exception("failed", extra={"name_of": "a\nb\x1b[2J"})
    first, *trace = stream.getvalue().splitlines()

    assert first[9:] == r"error   failed name_of=a\nb [2J"
    assert trace[-1].startswith("ValueError: invalid")


def test_an_unknown_level_is_refused() -> None:
    """The hint lists those that there are."""
    with pytest.raises(ConfigError):
        configure("loud")


def test_the_form_can_be_said() -> None:
    """JSON on a terminal for a pipe that follows, lines for people in a file."""
    terminal, file = Terminal(), io.StringIO()
    configure("info", terminal, "json")
    logging.getLogger("x").info("story", extra={"job_id": "a1"})
    configure("info", file, "console")
    logging.getLogger("x").info("story", extra={"job_id": "a1"})

    assert json.loads(terminal.getvalue())["job_id"] == "a1"
    assert file.getvalue()[9:] == "info    story job_id=a1\n"


def test_an_unknown_form_is_refused() -> None:
    """Likewise."""
    with pytest.raises(ConfigError):
        configure("info", form="xml")
