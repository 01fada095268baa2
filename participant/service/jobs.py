"""The jobs of a control process: events in, the machine's wishes carried out.

Every event of a job goes through ``Jobs.handle``, one at a time. What must survive
is on disk before anything that follows from it is sent.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol, assert_never

from participant.dataplane import ipc
from participant.home.folder import Home
from participant.home.journal import Journal
from participant.protocol.identity import Pin
from participant.protocol.job import step
from participant.protocol.model import (
    OVER,
    DataRefused,
    JobEffect,
    JobEvent,
    Party,
    PartyJob,
    Prepare,
    Reached,
    RecordPins,
    Recovered,
    Run,
    Stage,
    Stop,
)
from participant.service.figures import Figures
from participant.service.orders import event_of, start_order
from participant.service.question import consumer_learns
from shared.errors import FrameworkError, RefusalCode
from shared.messages import Spec, unpack
from shared.names import Duty, JobId
from shared.protocol.machine import (
    CancelTimer,
    Context,
    Send,
    SetTimer,
    TimerFired,
)

MAX_FORGOTTEN = 1000
"""Ended jobs of others that are remembered, to know late messages."""

Watcher = Callable[[PartyJob], None]

_log = logging.getLogger(__name__)


class World(Protocol):
    """What jobs need of the process around them."""

    def context(self) -> Context:
        """Return time and entropy."""
        ...

    def party(self) -> Party:
        """Return this participant as it is now."""
        ...

    def dataset(self, name: str) -> Path | None:
        """Return a dataset's file."""
        ...

    def post(self, send: Send, job: PartyJob | None) -> None:
        """Send a message about a job as soon as that is possible."""
        ...

    async def order(self, order: ipc.ToData) -> None:
        """Give the data process an order; one that is gone gets none."""
        ...

    async def record_pins(self, pins: tuple[Pin, ...]) -> None:
        """Write pins into the key file."""
        ...

    def slots_changed(self) -> None:
        """Take note that jobs use more or fewer slots than before."""
        ...


class Jobs:
    """All jobs of this participant.

    Args:
        home: where results lie.
        journal: what survives.
        world: the process around.
        figures: where jobs are counted.
    """

    def __init__(
        self, home: Home, journal: Journal, world: World, figures: Figures
    ) -> None:
        self._home = home
        self._journal = journal
        self._world = world
        self._figures = figures
        self._states: dict[JobId, PartyJob] = {}
        # Of these, by what is asked at every event, so that it costs the same
        # whatever is remembered.
        self._taking: set[JobId] = set()
        self._ended: dict[JobId, None] = {}
        self._lock = asyncio.Lock()
        self._timers: dict[tuple[JobId, str], asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: list[Watcher] = []

    def all(self) -> tuple[PartyJob, ...]:
        """Return every job, the oldest first."""
        return tuple(self._states.values())

    def get(self, job: JobId) -> PartyJob | None:
        """Return one job."""
        return self._states.get(job)

    @property
    def slots_taken(self) -> int:
        """How many jobs use a slot."""
        return len(self._taking)

    @contextlib.contextmanager
    def watched(self, watcher: Watcher) -> Iterator[None]:
        """Call back after every change of any job, as long as the block lasts."""
        self._watchers.append(watcher)
        try:
            yield
        finally:
            self._watchers.remove(watcher)

    async def recover(self) -> None:
        """Take up what the journal kept of an earlier process."""
        for job in await asyncio.to_thread(self._journal.read):
            self._remember(job)
            await self.handle(job.job, Recovered())
            result = await asyncio.to_thread(self._find_result, job.job)
            if result is not None and job.stage not in OVER:
                await self.handle(job.job, self._found(job, result))

    async def handle_all(self, event: JobEvent) -> None:
        """Let every job that is not over know of an event."""
        for job, state in list(self._states.items()):
            if state.stage not in OVER:
                await self.handle(job, event)

    async def handle(self, job: JobId, event: JobEvent) -> PartyJob | None:
        """Let a job know of an event; return the job afterwards.

        Raises:
            ConfigError: the journal cannot be written; nothing was sent.
        """
        async with self._lock:
            before = self._states.get(job)
            if isinstance(event, Reached) and event.result is not None:
                event = self._moved_result(job, event)
            slots = self.slots_taken
            transition = step(before, event, self._world.context(), self._world.party())
            after = transition.state
            self._keep(before, after)
            if after is not None:
                self._remember(after)
                for effect in transition.effects:
                    await self._apply(effect, after)
            elif transition.effects:
                self._answer(transition.effects)
            if after is not None and after != before:
                self._story(before, after)
                self._figures.moved(before, after, event)
                for watcher in list(self._watchers):
                    watcher(after)
            if self.slots_taken != slots:
                self._world.slots_changed()
            self._forget()
            return after

    async def data_said(self, event: ipc.ToControl) -> None:
        """Take an event of the data process that is about a job."""
        about = event_of(event)
        if about is not None:
            await self.handle(*about)

    def close(self) -> None:
        """Let no timer fire any more."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _keep(self, before: PartyJob | None, after: PartyJob | None) -> None:
        # Not in a thread: handing over takes longer than a disk takes to sync this.
        if after is not None and after.is_kept:
            if before is None or not before.is_kept or before.differs_for_good(after):
                self._journal.write(after)
        elif before is not None and before.is_kept:
            self._journal.remove(before)

    def _answer(self, effects: tuple[JobEffect, ...]) -> None:
        """Send what answers a message about a job that is not known here."""
        for effect in effects:
            if isinstance(effect, Send):
                self._world.post(effect, None)

    async def _apply(self, effect: JobEffect, state: PartyJob) -> None:
        match effect:
            case Send():
                self._world.post(effect, state)
            case SetTimer():
                self._set_timer(state.job, effect.name, effect.due)
            case CancelTimer():
                self._cancel_timer(state.job, effect.name)
            case Prepare():
                await self._prepare(effect)
            case Run():
                await self._world.order(start_order(effect, self._world.party()))
            case Stop():
                order = ipc.StopJob(
                    job=effect.job, code=effect.code, discard=effect.discards
                )
                await self._world.order(order)
            case RecordPins():
                await self._world.record_pins(effect.pins)
            case _:
                assert_never(effect)

    async def _prepare(self, effect: Prepare) -> None:
        path = self._world.dataset(effect.dataset)
        if path is None:
            gone = DataRefused(
                effect.epoch,
                RefusalCode.UNKNOWN_DATASET,
                f"no dataset {effect.dataset!r} here",
            )
            self._later(self._handled(effect.job, gone))
            return
        await self._world.order(
            ipc.Prepare(
                job=effect.job, epoch=effect.epoch, spec=effect.spec, path=str(path)
            )
        )

    def _set_timer(self, job: JobId, name: str, due: datetime) -> None:
        self._cancel_timer(job, name)
        delay = max(0.0, (due - self._world.context().now).total_seconds())
        self._timers[job, name] = asyncio.get_running_loop().call_later(
            delay, lambda: self._later(self._fired(job, name))
        )

    def _cancel_timer(self, job: JobId, name: str) -> None:
        timer = self._timers.pop((job, name), None)
        if timer is not None:
            timer.cancel()

    async def _fired(self, job: JobId, name: str) -> None:
        self._timers.pop((job, name), None)
        await self._handled(job, TimerFired(name))

    async def _handled(self, job: JobId, event: JobEvent) -> None:
        try:
            await self.handle(job, event)
        except FrameworkError as error:
            _log.error(
                "job event failed",
                extra={"job_id": job.hex(), "reason": str(error)},
            )

    def _later(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _found(self, job: PartyJob, result: Path) -> Reached:
        now = self._world.context().now_ms
        return Reached(job.epoch, Stage.DELIVERED, now, 0, 0, 0, str(result))

    def _find_result(self, job: JobId) -> Path | None:
        """Return the result that an earlier process wrote and did not note."""
        places = (self._result_path(job), self._home.data / job.hex() / "result.json")
        return next((path for path in places if path.is_file()), None)

    def _moved_result(self, job: JobId, event: Reached) -> Reached:
        """Move a result from the data process's folder to the results."""
        target = self._result_path(job)
        source = Path(event.result or "")
        if source != target:
            source.replace(target)
            with contextlib.suppress(OSError):
                source.parent.rmdir()
        return Reached(
            event.epoch,
            event.stage,
            event.at,
            event.elapsed_ms,
            event.bytes_in,
            event.bytes_out,
            str(target),
        )

    def _result_path(self, job: JobId) -> Path:
        return self._home.results / f"{job.hex()}.json"

    def _remember(self, state: PartyJob) -> None:
        job = state.job
        self._states[job] = state
        if state.takes_slot:
            self._taking.add(job)
        else:
            self._taking.discard(job)
        is_ended = state.stage in {*OVER, Stage.FAILED, Stage.REFUSED}
        if is_ended and not state.is_kept:
            self._ended.setdefault(job)
        else:
            self._ended.pop(job, None)

    def _forget(self) -> None:
        """Drop the jobs of others that ended first; late words on them do nothing."""
        while len(self._ended) > MAX_FORGOTTEN:
            job = next(iter(self._ended))
            del self._ended[job], self._states[job]

    def _story(self, before: PartyJob | None, after: PartyJob) -> None:
        if before is not None and before.stage is after.stage:
            return
        refusal = after.refusal
        is_ended = after.stage in {Stage.FAILED, Stage.CLOSED}
        ending = after.ending if is_ended else None
        reason = refusal[1] if refusal else None
        if ending is not None:
            reason = ending.reason
        _log.info(
            "job moved",
            extra={
                "stage": after.stage.value,
                "job_id": after.job.hex(),
                "number": after.number or None,
                "epoch": after.epoch or None,
                "duties": ",".join(after.duties) or None,
                "outcome": ending.outcome.value if ending else None,
                "code": ending.code.value if ending else None,
                "party": ending.party if ending else None,
                "reason": reason,
                "consumer_learns": _learns(after),
            },
        )


def _learns(job: PartyJob) -> str | None:
    """Return what a source consents to that the consumer will learn."""
    if job.stage is not Stage.ACCEPTED or Duty.INPUT not in job.duties:
        return None
    return consumer_learns(unpack(Spec, job.spec))
