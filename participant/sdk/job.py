"""A job that was asked for, followed while its asker does something else."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from participant.home.folder import Home
from participant.sdk.errors import ResultTimeoutError, failure_of
from participant.sdk.reading import make_result
from participant.sdk.results import Result
from participant.service.following import followed
from participant.service.job_list import name_of, phase_in
from participant.service.local import Answer, NotRunningError, Request, ask_once
from participant.service.summary import Phase
from shared.messages import Outcome
from shared.protocol.machine import EPOCH_START


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        job: its number, such as ``J001``, else the start of its id.
        phase: how far it is.
        waiting: what it waits for, in words; empty at the end.
        problem: what keeps this participant from the broker or manager, if anything.
    """

    job: str
    phase: Phase
    waiting: str
    problem: str | None = None


Listener = Callable[[Progress], None]
"""Is called whenever something of a job's progress has changed."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is known of a job that was asked for, now or earlier.

    Attributes:
        job: its number, such as ``J001``, else the start of its id.
        id: hexadecimal.
        state: ``done``, ``failed``, ``cancelled`` or ``expired``, else how far it is.
        is_over: whether anything can still change.
        phase: how far it is, or was when it ended.
        statistic: what was asked for.
        dataset: of every source.
        columns: of the dataset.
        requested: when.
        times_ms: milliseconds from the request to each phase.
        code: why it ended without a result.
        party: where it did.
        reason: the same in words.
    """

    job: str
    id: str
    state: str
    is_over: bool
    phase: Phase
    statistic: str
    dataset: str
    columns: tuple[str, ...]
    requested: datetime
    times_ms: Mapping[str, int]
    code: str | None = None
    party: str | None = None
    reason: str | None = None


class AsyncJob:
    """A job at work, or over. ``AsyncAnalyst`` makes these.

    Args:
        home: where the control process runs.
        progress: hears how far the job is.
    """

    def __init__(self, home: Home, progress: Listener | None) -> None:
        self._home = home
        self._progress = progress
        self._seen: Answer = {}
        self._told: Progress | None = None
        self._heard = asyncio.Event()
        self._following: asyncio.Task[Answer] | None = None

    @property
    def id(self) -> str:
        """Its id, hexadecimal."""
        return str(self._seen.get("id"))

    @property
    def name(self) -> str:
        """Its number, such as ``J001``; the start of its id until it has one."""
        return name_of(self._seen)

    @property
    def phase(self) -> Phase:
        """How far it is, or was when it ended."""
        return phase_in(self._seen)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, one way or another."""
        return bool(self._seen.get("is_over"))

    async def result(self, timeout: timedelta | float | None = None) -> Result:  # noqa: ASYNC109 - the job goes on
        """Wait for the result and return it.

        Args:
            timeout: how long to wait, in seconds unless it is a ``timedelta``.

        Raises:
            JobFailedError: the job ended without one; its kinds are
                ``JobRefusedError`` and ``JobCancelledError``.
            ResultTimeoutError: it is not there in time; the job goes on.
            NotRunningError: the analyst was closed meanwhile; the job goes on.
            FrameworkError: the control process is gone.
        """
        following = self._following
        if following is None:
            raise _closed()
        if isinstance(timeout, timedelta):
            timeout = timeout.total_seconds()
        await asyncio.wait({following}, timeout=timeout)
        if not following.done():
            waiting = str(self._seen.get("waiting"))
            raise ResultTimeoutError(
                f"{self.name} has no result yet: {waiting}",
                f"it goes on; ask for result({self.name!r}) later",
            )
        if following.cancelled():
            raise _closed()
        end = following.result()
        if end.get("state") != Outcome.DONE:
            raise failure_of(end)
        # Not in a thread: a program that ends cannot start one any more.
        return make_result(end)

    async def cancel(self) -> None:
        """Give the job up; ``result`` raises ``JobCancelledError`` once it has ended.

        Raises:
            FrameworkError: the control process is gone.
        """
        await ask_once(self._home, {"op": "cancel", "job": self.id})

    async def begin(self, request: Request) -> None:
        """Ask, and return as soon as the job is known.

        Raises:
            FrameworkError: it cannot be asked for, or is not known.
        """
        self._following = asyncio.create_task(self._follow(request))
        self._following.add_done_callback(_settled)
        heard = asyncio.create_task(self._heard.wait())
        try:
            await asyncio.wait(
                {self._following, heard}, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            self._following.cancel()
            raise
        finally:
            heard.cancel()
        if not self._heard.is_set():
            await self._following

    async def leave(self) -> None:
        """Follow the job no more; it goes on."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})

    async def _follow(self, request: Request) -> Answer:
        end = await followed(self._home, request, self._take)
        self._take(end)
        return end

    def _take(self, answer: Answer) -> None:
        self._seen = answer
        self._heard.set()
        problem = answer.get("problem")
        news = Progress(
            self.name,
            self.phase,
            str(answer.get("waiting") or ""),
            None if problem is None else str(problem),
        )
        if self._progress is not None and news != self._told:
            self._told = news
            self._progress(news)


def record(answer: Answer) -> JobRecord:
    """Return what a job's summary says."""
    columns, times = answer.get("columns"), answer.get("times_ms")
    requested = answer.get("requested")
    said = {
        name: None if answer.get(name) is None else str(answer[name])
        for name in ("code", "party", "reason")
    }
    at = EPOCH_START + timedelta(
        milliseconds=requested if isinstance(requested, int) else 0
    )
    return JobRecord(
        job=name_of(answer),
        id=str(answer.get("id")),
        state=str(answer.get("state")),
        is_over=bool(answer.get("is_over")),
        phase=phase_in(answer),
        statistic=str(answer.get("statistic")),
        dataset=str(answer.get("dataset")),
        columns=tuple(map(str, columns)) if isinstance(columns, list) else (),
        requested=at.astimezone(UTC),
        times_ms={
            str(name): milliseconds
            for name, milliseconds in (times if isinstance(times, dict) else {}).items()
            if isinstance(milliseconds, int)
        },
        **said,
    )


def _settled(following: asyncio.Task[Answer]) -> None:
    """Take note of a failure, also where nobody waits for the result."""
    if not following.cancelled():
        following.exception()


def _closed() -> NotRunningError:
    return NotRunningError(
        "the analyst is closed", "open it again; jobs that were asked for go on"
    )
