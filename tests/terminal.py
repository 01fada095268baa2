"""A person at a terminal: types, presses keys, reads what appears."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

PATIENCE = 60.0
"""Seconds that something may take to appear on a busy machine."""
POLL = 0.05
ROWS, COLUMNS = 40, 110
CTRL_C, CTRL_D, TAB, UP = "\x03", "\x04", "\t", "\x1b[A"

_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios;"
    " fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes the pseudo-terminal the one whose Ctrl-C reaches the program."""


class Terminal:
    """A program on a pseudo-terminal of its own.

    Args:
        command: the program, by its path, and its arguments.
        environment: of the program.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment, "TERM": "dumb", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        os.close(slave)
        self._seen = b""
        self._from = 0

    @property
    def text(self) -> str:
        """Everything that has appeared so far."""
        return self._seen.decode(errors="replace").replace("\r\n", "\n")

    def press(self, keys: str) -> None:
        """Press keys, without Enter."""
        os.write(self._master, keys.encode())

    def enter(self, line: str) -> None:
        """Type a line, with Enter."""
        self.press(f"{line}\r")

    def until(self, *texts: str, seconds: float = PATIENCE) -> str:
        """Wait until one of these appears; return what appeared since the last call.

        Raises:
            AssertionError: none does in time.
        """
        deadline = time.monotonic() + seconds
        while True:
            news = self._seen[self._from :]
            found = [
                news.index(text) + len(text)
                for text in map(str.encode, texts)
                if text in news
            ]
            if found:
                self._from += min(found)
                return news[: min(found)].decode(errors="replace")
            if time.monotonic() > deadline or not self._read(deadline):
                raise AssertionError(f"{texts} did not appear: {self.text}")

    def interrupt(self, text: str) -> str:
        """Press Ctrl-C, again each second, until this appears; return as ``until``.

        A key that comes just before the program waits for keys is lost to it.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            self.press(CTRL_C)
            try:
                return self.until(text, seconds=1.0)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    def signal(self, number: signal.Signals) -> int:
        """Send a signal, again each second, until the program ends; return as ``end``.

        One that comes just before readline waits for keys is heard with the next.
        """
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            self.process.send_signal(number)
            second = time.monotonic() + 1.0
            while self.process.poll() is None and time.monotonic() < second:
                if not self._read(time.monotonic() + POLL):
                    time.sleep(POLL)
        return self.end()

    def end(self) -> int:
        """Wait until the program has ended and return its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            # What it has started may keep the terminal open for longer.
            if not self._read(time.monotonic() + POLL):
                time.sleep(POLL)
        while self._read(time.monotonic() + POLL):
            pass
        return self.process.wait(max(POLL, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        """Take what has appeared; ``False`` once the program has left the terminal."""
        wait = max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([self._master], [], [], wait)
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so when the last program has left
            return False
        self._seen += data
        return bool(data)

    def __enter__(self) -> Self:
        """Use it for a while."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up, so that the program ends in good order, or kill it."""
        if self.process.poll() is None:
            try:
                self.signal(signal.SIGTERM)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        os.close(self._master)
