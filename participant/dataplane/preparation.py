"""Reading a source's data for a spec, beside everything else."""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from participant.columns import Values
from participant.dataplane.ipc import Prepare, Prepared, PrepareFailed, ToControl
from participant.dataplane.order import read_question
from participant.datasets.tables import open_columns, size_bytes
from shared.errors import FrameworkError, RefusalCode, RefusedError
from shared.messages.wire import MAX_TEXT
from shared.names import JobId
from shared.printable import printable

MAX_READING: Final = 2
"""Datasets that are read at the same time; others wait."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LocalSums:
    """What a source would send shares of; never printed, never sent as it is."""

    spec: bytes
    values: Values
    rows: int
    file_bytes: int


class Preparations:
    """The local sums of jobs that were offered and may start.

    Args:
        emit: where answers to the control process go.
    """

    def __init__(self, emit: Callable[[ToControl], None]) -> None:
        self._emit = emit
        self._reading: dict[JobId, asyncio.Task[None]] = {}
        self._sums: dict[JobId, LocalSums] = {}
        self._places = asyncio.Semaphore(MAX_READING)

    def begin(self, order: Prepare) -> None:
        """Read the data of a job; an earlier reading for it is dropped."""
        self.drop(order.job)
        task = asyncio.create_task(self._prepare(order))
        self._reading[order.job] = task
        task.add_done_callback(lambda done: self._done(order.job, done))

    def drop(self, job: JobId) -> None:
        """Forget what was read, and do not answer for what is being read."""
        self._sums.pop(job, None)
        reading = self._reading.pop(job, None)
        if reading is not None:
            reading.cancel()

    def take(self, job: JobId, spec: bytes) -> Values | None:
        """Return the local sums that were prepared for a job's spec, once."""
        sums = self._sums.pop(job, None)
        return sums.values if sums is not None and sums.spec == spec else None

    async def close(self) -> None:
        """Forget everything."""
        tasks = list(self._reading.values())
        for job in [*self._reading, *self._sums]:
            self.drop(job)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, job: JobId, task: asyncio.Task[None]) -> None:
        if self._reading.get(job) is task:
            del self._reading[job]

    async def _prepare(self, order: Prepare) -> None:
        try:
            async with self._places:
                sums = await _in_daemon(lambda: _read(order))
        except RefusedError as error:
            self._refuse(order, error.code, str(error))
        except FrameworkError:
            self._refuse(order, RefusalCode.SPEC_INVALID, "the spec is malformed")
        except Exception as error:  # noqa: BLE001 - a library's text may hold a value
            _log.warning(
                "preparation failed",
                extra={"job_id": order.job.hex(), "outcome": type(error).__name__},
            )
            self._refuse(
                order, RefusalCode.INTERNAL, "reading the dataset failed; see the log"
            )
        else:
            self._sums[order.job] = sums
            self._emit(
                Prepared(
                    job=order.job,
                    epoch=order.epoch,
                    rows=sums.rows,
                    bytes=sums.file_bytes,
                )
            )

    def _refuse(self, order: Prepare, code: RefusalCode, reason: str) -> None:
        self._emit(
            PrepareFailed(
                job=order.job, epoch=order.epoch, code=code, reason=bounded(reason)
            )
        )


def bounded(text: str) -> str:
    """Return a text that fits a reason: printable and at most 200 characters."""
    return printable(text)[:MAX_TEXT] or "no reason was given"


def _read(order: Prepare) -> LocalSums:
    """Return the local sums; runs in a thread of its own."""
    question = read_question(order.spec)
    path, params = Path(order.path), question.params
    with open_columns(path, params.used(), params.missing) as columns:
        values = question.statistic.prepare(columns, params)
        size = size_bytes(path, len(params.used()), columns.rows)
    # The engine has to share them without overflow.
    question.engine.check_values(values, question.plan(order.job, None, 1))
    return LocalSums(order.spec, values, columns.rows, size)


async def _in_daemon(work: Callable[[], LocalSums]) -> LocalSums:
    """Return what a function returns that runs in a thread of its own.

    The thread does not keep the process alive; a cancelled reading runs to its end
    there and what it found is dropped.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[LocalSums] = loop.create_future()

    def settle(sums: LocalSums | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if sums is not None:
            answer.set_result(sums)
        else:
            answer.set_exception(error or RuntimeError("no answer"))

    def run() -> None:
        sums, failure = None, None
        try:
            sums = work()
        except BaseException as error:  # noqa: BLE001 - the awaiting side raises it
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, sums, failure)

    threading.Thread(target=run, name="mpc-prepare", daemon=True).start()
    return await answer
