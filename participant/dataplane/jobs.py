"""The jobs of this process: started, found by links, stopped, and how they ended."""

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass

from participant.dataplane.client_job import ClientJob
from participant.dataplane.ipc import JobFailed, Prepare, StartJob, StopJob
from participant.dataplane.journal import Journal
from participant.dataplane.order import Environment, read_order
from participant.dataplane.preparation import Preparations, bounded
from participant.dataplane.server_job import ServerJob
from shared.clock import to_ms
from shared.errors import (
    DecodeError,
    FailureCode,
    FrameworkError,
    JobAbortedError,
    RefusedError,
)
from shared.names import JobId

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    """A job of this process; ``job`` is None until its order was read."""

    start: StartJob
    task: asyncio.Task[None] | None = None
    job: ClientJob | ServerJob | None = None


class JobTable:
    """All jobs of this process, each in a task of its own."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._running: dict[JobId, _Running] = {}
        self._preparations = Preparations(environment.emit)
        self._waiting: defaultdict[tuple[JobId, int], set[asyncio.Future[None]]] = (
            defaultdict(set)
        )

    def prepare(self, order: Prepare) -> None:
        """Read and check the data that a spec asks for."""
        self._preparations.begin(order)

    def start(self, start: StartJob) -> None:
        """Run a job; a repeated order is ignored, one of another epoch replaces."""
        running = self._running.get(start.job)
        if running is not None:
            if running.start.epoch == start.epoch and not start.fetch_only:
                return
            self._end(running, FailureCode.CANCELLED)
        entry = _Running(start)
        self._running[start.job] = entry
        entry.task = asyncio.create_task(self._run(entry))

    def stop(self, order: StopJob) -> None:
        """End a job, if it is here, and delete its files if that is asked."""
        self._preparations.drop(order.job)
        running = self._running.pop(order.job, None)
        if running is not None:
            self._end(running, order.code)
        if not order.discard:
            return
        if running is not None and running.job is not None:
            running.job.discard()
        else:
            Journal(self._environment.folder, order.job).discard()

    async def close(self) -> None:
        """End all jobs: this party leaves, nobody cancelled them."""
        running = list(self._running.values())
        self._running.clear()
        for one in running:
            self._end(one, FailureCode.PARTY_LOST)
        tasks = [one.task for one in running if one.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._preparations.close()

    async def wait_for(self, job: JobId, epoch: int) -> ServerJob | None:
        """Return a job for a link, as soon as it is there; see ``listener.Jobs``."""
        found = self._served(job, epoch)
        if found is not None:
            return found
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting[job, epoch]
        waiting.add(arrival)
        try:
            async with asyncio.timeout(self._environment.times.hold.total_seconds()):
                await arrival
        except TimeoutError:
            return None
        finally:
            waiting.discard(arrival)
            if not waiting:
                self._waiting.pop((job, epoch), None)
        return self._served(job, epoch)

    def _served(self, job: JobId, epoch: int) -> ServerJob | None:
        running = self._running.get(job)
        if running is None or running.start.epoch != epoch:
            return None
        return running.job if isinstance(running.job, ServerJob) else None

    def _end(self, running: _Running, code: FailureCode) -> None:
        if running.task is not None:
            running.task.cancel()
        if running.job is not None:
            running.job.close(code)

    async def _run(self, running: _Running) -> None:
        """Run a job to its end; every failure is reported, none escapes."""
        start = running.start
        failure: JobAbortedError | None = None
        try:
            running.job = self._made(start)
            for arrival in self._waiting.get((start.job, start.epoch), ()):
                if not arrival.done():
                    arrival.set_result(None)
            await running.job.run()
        except JobAbortedError as error:
            failure = error
        except RefusedError as error:
            failure = JobAbortedError(str(error), FailureCode.REFUSED, start.me)
        except FrameworkError as error:
            failure = JobAbortedError(str(error), FailureCode.INTERNAL, start.me)
        except Exception as error:  # noqa: BLE001 - a library's text may hold a share
            _log.error(
                "job failed unexpectedly",
                extra={"job_id": start.job.hex(), "outcome": type(error).__name__},
            )
            failure = JobAbortedError(
                "this party failed; see its log", FailureCode.INTERNAL, start.me
            )
        if self._running.get(start.job) is running:
            del self._running[start.job]
        if failure is not None:
            self._report(running, failure)

    def _made(self, start: StartJob) -> ClientJob | ServerJob:
        try:
            order = read_order(start, self._environment)
        except DecodeError as error:
            raise JobAbortedError(
                "the spec is malformed", FailureCode.PARAMETERS
            ) from error
        if start.party is not None:
            return ServerJob(order)
        return ClientJob(order, self._preparations.take(start.job, start.spec))

    def _report(self, running: _Running, failure: JobAbortedError) -> None:
        start = running.start
        _log.info(
            "job failed",
            extra={
                "job_id": start.job.hex(),
                "code": failure.code.value,
                "party": failure.party,
                "reason": bounded(str(failure)),
            },
        )
        if running.job is not None:
            running.job.close(failure.code)
        self._environment.emit(
            JobFailed.model_validate(
                {
                    "job": start.job,
                    "epoch": start.epoch,
                    "at": to_ms(self._environment.clock.now()),
                    "code": failure.code,
                    "peer": failure.party,
                    "reason": bounded(str(failure)),
                }
            )
        )
