"""How far a job is, for somebody who waits at a terminal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Protocol

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from participant.cli.app import say
from participant.cli.shown import progress_line
from participant.service.job_list import name_of
from participant.service.local import Answer
from participant.service.summary import PHASE_WORDS, Phase
from shared.cli import Decorated
from shared.printable import printable

STEPS: Final = tuple(PHASE_WORDS)
"""The phases that a consumer goes through, and behind them the result."""
REFRESH = timedelta(milliseconds=200)

_BAR_WIDTH = 20


def quiet_option(command: Decorated) -> Decorated:
    """Add ``--quiet``; the parameter is ``quiet: bool``."""
    return click.option(
        "--quiet",
        is_flag=True,
        help="Print the result, or why there is none, and no more.",
    )(command)


class Teller(Protocol):
    """Tells how far a job is."""

    def tell(self, answer: Answer) -> None:
        """Hear what the control process says of the job."""
        ...


class Silence:
    """Tells nothing: to a pipe, a file, or somebody who wants quiet."""

    def tell(self, answer: Answer) -> None:
        """Say nothing."""


class Lines:
    """Tells each news in a line, on terminals that cannot draw."""

    def __init__(self) -> None:
        self._last = ""

    def tell(self, answer: Answer) -> None:
        """Print what is new."""
        line = progress_line(answer)
        if line != self._last:
            self._last = line
            say(line)


class Bar:
    """Draws a bar that grows with each phase, and takes it away at the end.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[job]}", markup=False),
            BarColumn(_BAR_WIDTH),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("asking", total=len(STEPS), job="job")

    def tell(self, answer: Answer) -> None:
        """Draw how far the job is."""
        what = str(answer.get("waiting") or "")
        problem = answer.get("problem")
        self._progress.update(
            self._task,
            completed=step(answer),
            job=name_of(answer),
            description=printable(f"{what} ({problem!s})" if problem else what),
            refresh=True,
        )

    async def draw(self) -> None:
        """Draw again and again, until cancelled."""
        with self._progress:
            # Whoever kills the command keeps a terminal with a cursor.
            self._progress.console.show_cursor(True)
            while True:
                self._progress.refresh()
                await asyncio.sleep(REFRESH.total_seconds())


def step(answer: Answer) -> int:
    """Return how many of ``STEPS`` a job has left behind."""
    phase = str(answer.get("phase"))
    return STEPS.index(Phase(phase)) if phase in STEPS else len(STEPS)


@asynccontextmanager
async def telling(console: Console, *, quiet: bool) -> AsyncIterator[Teller]:
    """Have somebody told how far a job is, in the way that suits.

    Args:
        console: stderr.
        quiet: nothing is told.
    """
    if quiet or not console.is_terminal:
        yield Silence()
    elif console.is_dumb_terminal:
        yield Lines()
    else:
        bar = Bar(console)
        drawing = asyncio.create_task(bar.draw())
        try:
            yield bar
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)
