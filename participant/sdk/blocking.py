"""A consumer at work in a program without asyncio, or in a notebook.

Everything happens in an event loop in a thread of its own, so that jobs go on while
the program does something else, and so that it works within a running loop too.
"""

import asyncio
import atexit
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

from participant.sdk.analyst import AsyncAnalyst
from participant.sdk.job import AsyncJob, JobRecord, Listener
from participant.sdk.questions import Options
from participant.sdk.results import Result
from participant.service.local import NotRunningError
from participant.service.summary import Phase
from shared.errors import FrameworkError

_T = TypeVar("_T")


class _Loop:
    """An event loop in a thread, from its making to ``close``."""

    def __init__(self) -> None:
        begun: Future[asyncio.AbstractEventLoop] = Future()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(begun)), name="mpc-sdk", daemon=True
        )
        self._thread.start()
        self._loop = begun.result()

    def call(self, work: Coroutine[object, object, _T]) -> _T:
        """Return what a coroutine returns; an interrupted caller cancels it.

        Raises:
            NotRunningError: the loop is closed.
            FrameworkError: as ``check_caller``; also whatever the coroutine raises.
        """
        try:
            self.check_caller()
        except FrameworkError:
            work.close()
            raise
        if not self._thread.is_alive():
            work.close()
            raise NotRunningError(
                "the analyst is not open", "use it within its with block"
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def check_caller(self) -> None:
        """Let nobody wait for the loop in its own thread: that would be for ever.

        Raises:
            FrameworkError: a listener calls.
        """
        if threading.current_thread() is self._thread:
            raise FrameworkError(
                "a progress listener cannot call methods of its analyst or of jobs",
                "let it hand over to another thread, with a queue.SimpleQueue",
            )

    def close(self) -> None:
        """End the thread, as soon as what was interrupted has ended in good order."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    async def _run(self, begun: Future[asyncio.AbstractEventLoop]) -> None:
        begun.set_result(asyncio.get_running_loop())
        await self._stopping.wait()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)


class Job:
    """A job at work, or over. ``Analyst`` makes these."""

    def __init__(self, job: AsyncJob, loop: _Loop) -> None:
        self._job = job
        self._loop = loop

    @property
    def id(self) -> str:
        """Its id, hexadecimal."""
        return self._job.id

    @property
    def name(self) -> str:
        """Its number, such as ``J001``; the start of its id until it has one."""
        return self._job.name

    @property
    def phase(self) -> Phase:
        """How far it is, or was when it ended."""
        return self._job.phase

    @property
    def is_over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self._job.is_over

    def result(self, timeout: timedelta | float | None = None) -> Result:
        """Wait for the result and return it; see ``AsyncJob.result``."""
        return self._loop.call(self._job.result(timeout))

    def cancel(self) -> None:
        """Give the job up; see ``AsyncJob.cancel``."""
        self._loop.call(self._job.cancel())


class Analyst:
    """A consumer that asks for computations, within a ``with`` block.

    Where a block is in the way, as in a notebook, ``open`` and ``close`` do the same.

    Args:
        home: the identity's folder; ``MPC_HOME`` or else the default one unless given.
        identity: its name or number, where the folder has several.
        password: of the key file, where it has one.
    """

    def __init__(
        self,
        home: Path | str | None = None,
        *,
        identity: str | None = None,
        password: str | bytes | None = None,
    ) -> None:
        self._analyst = AsyncAnalyst(home, identity=identity, password=password)
        self._loop: _Loop | None = None

    def open(self) -> Self:
        """Have a control process that is logged on; see ``AsyncAnalyst``."""
        if self._loop is not None:
            return self
        self._loop = _Loop()
        atexit.register(self.close)
        try:
            self._loop.call(self._analyst.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Let go; jobs that are not over go on."""
        if self._loop is not None:
            self._loop.check_caller()
        atexit.unregister(self.close)
        if self._loop is not None:
            loop, self._loop = self._loop, None
            try:
                loop.call(self._analyst.close())
            finally:
                loop.close()

    def __enter__(self) -> Self:
        """See ``open``."""
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See ``close``."""
        self.close()

    @property
    def principal(self) -> str:
        """The consumer's name in the realm."""
        return self._analyst.principal

    @property
    def realm(self) -> str:
        """The realm's name."""
        return self._analyst.realm

    def runmpc(
        self,
        statistic: str,
        *,
        dataset: str,
        columns: str | Sequence[str] = (),
        progress: Listener | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Ask for a computation; see ``AsyncAnalyst.runmpc``.

        ``progress`` is called in the one thread in which all jobs are followed. It
        has to return soon, and cannot call methods of its analyst or of jobs there.
        """
        loop = self._open_loop()
        asked = self._analyst.runmpc(
            statistic, dataset=dataset, columns=columns, progress=progress, **options
        )
        return Job(loop.call(asked), loop)

    def job(self, job: str, progress: Listener | None = None) -> Job:
        """Return a job that was asked for before; see ``AsyncAnalyst.job``."""
        loop = self._open_loop()
        return Job(loop.call(self._analyst.job(job, progress)), loop)

    def result(self, job: str) -> Result:
        """Return the result of an earlier job; see ``AsyncAnalyst.result``."""
        return self._open_loop().call(self._analyst.result(job))

    def jobs(self) -> list[JobRecord]:
        """Return the jobs of this consumer, the newest last."""
        return self._open_loop().call(self._analyst.jobs())

    def _open_loop(self) -> _Loop:
        if self._loop is None:
            raise NotRunningError(
                "the analyst is not open", "use it within its with block"
            )
        return self._loop
