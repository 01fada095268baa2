"""Runs the commands that a page of the documentation shows, as its reader would.

A page's ``console`` blocks hold commands behind ``$`` and what they print, stdout and
stderr together. ``…`` stands for anything on its line, and a line of it alone for any
number of lines; how wide a table's columns are does not matter. A command ending in ``run`` goes on in a terminal of its own until
the walk is over.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROMPT = "$ "
ANYTHING = "…"
PATIENCE_SECONDS = 60.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.3
WIDTH = 120

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LOOKS = re.compile(r" (list|status|identities|jobs|show \S+)$")
_GOES_ON = re.compile(r"^mpc-(manager|participant)\b.* run$")


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a page and the lines that it shows for it."""

    command: str
    shown: tuple[str, ...]

    @property
    def goes_on(self) -> bool:
        """Whether it ends only when it is told to."""
        return _GOES_ON.search(self.command) is not None

    @property
    def only_looks(self) -> bool:
        """Whether a reader may repeat it until what it shows has come about."""
        return _LOOKS.search(self.command) is not None


def steps_of(page: str) -> list[Step]:
    """Return what a page tells its reader to do, in order.

    Raises:
        ValueError: a block begins with output.
    """
    found: list[Step] = []
    for block in _BLOCK.findall(page):
        command, shown = "", list[str]()
        for line in str(block).splitlines():
            if line.startswith(PROMPT):
                if command:
                    found.append(Step(command, tuple(shown)))
                command, shown = line.removeprefix(PROMPT), []
            elif command.endswith("\\"):
                command = command[:-1] + line.strip()
            elif command:
                shown.append(line.rstrip())
            else:
                raise ValueError(f"output without a command: {line}")
        found.append(Step(command, tuple(shown)))
    return found


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether a page shows what was printed."""
    parts = []
    for line in map(_of_any_width, shown):
        if line == ANYTHING:
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append("[^\n]*".join(map(re.escape, line.split(ANYTHING))) + r"\n")
    text = "".join(f"{_of_any_width(line)}\n" for line in printed)
    return re.fullmatch("".join(parts), text) is not None


def _of_any_width(line: str) -> str:
    """Return a line with spaces and rules that are one character long."""
    return re.sub(r"([ ━─])\1+", r"\1", line.rstrip())


class Walk:
    """One reader's way through pages: a folder, and what runs in terminals there.

    Args:
        folder: to work in; also the reader's home.
        programs: the folder of the programs.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "COLUMNS": str(WIDTH),
            **{
                name: os.environ[name]
                for name in ("MPC_RABBITMQ_ROOT",)
                if name in os.environ
            },
        }
        self._terminals: list[subprocess.Popen[bytes]] = []

    def take(self, step: Step) -> None:
        """Do what a page says.

        Raises:
            AssertionError: something else was printed than the page shows.
        """
        if step.goes_on:
            log = self._folder / f"terminal{len(self._terminals)}.log"
            with log.open("wb") as output:
                self._terminals.append(
                    subprocess.Popen(
                        ["bash", "-c", f"exec {step.command}"],
                        cwd=self._folder,
                        env=self._environment,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            printed = self._printed(step.command)
            if matches(step.shown, printed):
                return
            if not step.only_looks or time.monotonic() > deadline:
                raise AssertionError(
                    f"{step.command}\nshown:\n"
                    + "\n".join(step.shown)
                    + "\nprinted:\n"
                    + "\n".join(printed)
                )
            time.sleep(POLL_SECONDS)

    def end(self) -> None:
        """Close the terminals, the last one first."""
        for terminal in reversed(self._terminals):
            with contextlib.suppress(ProcessLookupError):
                terminal.send_signal(signal.SIGTERM)
        for terminal in self._terminals:
            try:
                terminal.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                terminal.kill()
                terminal.wait()
        self._terminals.clear()

    def _printed(self, command: str) -> list[str]:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS * 2,
        )
        return done.stdout.splitlines()


@contextlib.contextmanager
def walk(folder: Path, programs: Path) -> Iterator[Walk]:
    """Give a reader; nothing of what was started is left afterwards."""
    reader = Walk(folder, programs)
    try:
        yield reader
    finally:
        reader.end()
