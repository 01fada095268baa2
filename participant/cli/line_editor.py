"""Lines that a person types: history and completion by readline."""

import contextlib
import os
import readline
from collections.abc import Callable, Sequence
from pathlib import Path

from participant.home import secret_file
from shared import token as tokens

HISTORY_NAME = "shell.history"
MAX_LINES = 1000
"""So many lines of the history are kept from one prompt to the next."""

_DELIMITERS = " \t\n="
_LIBEDIT = "libedit"

Complete = Callable[[str, str], Sequence[str]]


def is_remembered(line: str) -> bool:
    """Say whether a line goes into the history; a token never does."""
    return bool(line.strip()) and tokens.MARK not in line


class LineEditor:
    """Reads lines from the terminal.

    Args:
        history: the file; it is made, with mode 0600, by the first line.
        complete: from the line before the word, and the word as far as it is
            typed, to whole words.

    Raises:
        ConfigError: the history cannot be read.
    """

    def __init__(self, history: Path, complete: Complete) -> None:
        self._history = history
        self._complete = complete
        self._found: Sequence[str] = ()
        # Answers to questions, such as a name, are no commands.
        readline.set_auto_history(False)
        readline.set_completer_delims(_DELIMITERS)
        readline.set_completer(self._candidate)
        is_libedit = _LIBEDIT in (readline.__doc__ or "")
        readline.parse_and_bind(
            "bind ^I rl_complete" if is_libedit else "tab: complete"
        )
        self._load()

    def read(self, prompt: str) -> str:
        """Return the next line.

        Raises:
            EOFError: Ctrl-D.
            KeyboardInterrupt: Ctrl-C.
        """
        line = input(prompt)
        if is_remembered(line):
            self._remember(line)
        return line

    def _load(self) -> None:
        readline.clear_history()
        if not self._history.exists():
            return
        lines = (
            secret_file.read(self._history).decode(errors="replace").split("\n")[:-1]
        )
        for line in lines[-MAX_LINES:]:
            readline.add_history(line)
        if len(lines) > MAX_LINES:
            kept = "".join(f"{line}\n" for line in lines[-MAX_LINES:])
            secret_file.write(self._history, kept.encode())

    def _remember(self, line: str) -> None:
        """Append a line, so that two prompts at a time lose nothing."""
        readline.add_history(line)
        with contextlib.suppress(OSError):  # a full disk must not end the prompt
            self._append(line)

    def _append(self, line: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        handle = os.open(self._history, flags, secret_file.FILE_MODE)
        with os.fdopen(handle, "ab") as stream:
            stream.write(f"{line}\n".encode(errors="surrogateescape"))

    def _candidate(self, text: str, number: int) -> str | None:
        if number == 0:
            before = readline.get_line_buffer()[: readline.get_begidx()]
            self._found = self._complete(before, text)
        return self._found[number] if number < len(self._found) else None
