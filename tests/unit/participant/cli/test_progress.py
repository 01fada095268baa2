"""What somebody sees who waits for a job."""

import asyncio
import io

import pytest
from rich.console import Console

from participant.cli.progress import STEPS, step, telling
from participant.service.local import Answer
from participant.service.summary import Phase


def news(phase: str, **more: str) -> Answer:
    """Return what the control process says of a job in this phase."""
    return {"job": "J001", "phase": phase, "waiting": f"for {phase}", **more}


def told(console: Console, *, quiet: bool = False) -> str:
    """Return what is written on a console while a job goes through its phases."""

    async def wait() -> None:
        async with telling(console, quiet=quiet) as teller:
            for phase in Phase:
                for _ in range(2):
                    teller.tell(news(phase, problem="[/] broker away"))
                    await asyncio.sleep(0)

    asyncio.run(wait())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_phase_fills_the_bar_further() -> None:
    """The last is the result."""
    steps = [step(news(phase)) for phase in Phase]

    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, len(STEPS))


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    """With the job, what it waits for, and what is in the way."""
    text = told(Console(file=io.StringIO(), force_terminal=True, width=120))

    assert "J001" in text
    assert "for linking ([/] broker away)" in text
    assert f"2/{len(STEPS)}" in text
    assert text.rindex("\x1b[2K") > text.rindex("J001")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_pipe_and_whoever_wants_quiet_get_nothing() -> None:
    """The result alone counts there."""
    terminal = Console(file=io.StringIO(), force_terminal=True)

    assert told(terminal, quiet=True) == ""
    assert told(Console(file=io.StringIO())) == ""


def test_a_terminal_that_cannot_draw_gets_a_line_for_each_news(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each once."""
    monkeypatch.setenv("TERM", "dumb")
    assert told(Console(file=io.StringIO(), force_terminal=True)) == ""
    lines = capsys.readouterr().err.splitlines()

    assert len(lines) == len(set(lines)) == len(Phase)
    assert lines[0] == "mpc-participant: J001: for asked ([/] broker away)"
