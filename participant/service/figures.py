"""What a participant counts of its jobs and its mail."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from participant.protocol.model import OVER, JobEvent, PartyJob, Reached, Stage
from shared.errors import FailureCode, RefusalCode
from shared.figures import MailFigures
from shared.names import JobId

REACHED = (Stage.LINKED, Stage.RUNNING, Stage.COMPUTED, Stage.DELIVERED)
"""What the data process reports of a job."""
DIRECTIONS = ("in", "out")
_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)


class Figures:
    """A participant's figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.mail = MailFigures(self.registry)
        self._ended = Counter(
            "mpc_participant_jobs_ended",
            "Jobs that ended here, by code: done is the one success.",
            ["code"],
            registry=self.registry,
        )
        self._refused = Counter(
            "mpc_participant_jobs_refused",
            "Jobs that this participant refused, by code.",
            ["code"],
            registry=self.registry,
        )
        self._phases = Histogram(
            "mpc_participant_job_phase_seconds",
            "From the start of a job at the data process until a phase was reached.",
            ["phase"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._bytes = Counter(
            "mpc_participant_data_bytes",
            "Bytes of jobs on data links, without framing; counted at each phase.",
            ["direction"],
            registry=self.registry,
        )
        self._losses = Counter(
            "mpc_participant_data_process_losses",
            "Data processes that ended although nobody asked them to.",
            registry=self.registry,
        )
        self._counted: dict[JobId, tuple[int, int, int]] = {}
        for ending in FailureCode:
            self._ended.labels(ending.value)
        for refusal in RefusalCode:
            self._refused.labels(refusal.value)
        for stage in REACHED:
            self._phases.labels(stage.value)
        for direction in DIRECTIONS:
            self._bytes.labels(direction)

    def moved(self, before: PartyJob | None, after: PartyJob, event: JobEvent) -> None:
        """Count what an event changed."""
        earlier = before.stage if before is not None else None
        if earlier is after.stage:
            return
        if isinstance(event, Reached) and event.stage is after.stage:
            self._reached(after.job, event)
        if after.stage is Stage.REFUSED and after.refusal is not None:
            self._refused.labels(after.refusal[0].value).inc()
        if after.stage in OVER and earlier not in OVER:
            self._counted.pop(after.job, None)
            code = FailureCode.DONE
            if after.stage is Stage.CLOSED and after.ending is not None:
                code = after.ending.code
            self._ended.labels(code.value).inc()

    def data_process_lost(self) -> None:
        """Count a data process that ended by itself."""
        self._losses.inc()

    def _reached(self, job: JobId, event: Reached) -> None:
        self._phases.labels(event.stage.value).observe(event.elapsed_ms / 1000)
        now = (event.epoch, event.bytes_in, event.bytes_out)
        before = self._counted.get(job, (0, 0, 0))
        if before[0] != event.epoch:
            before = (event.epoch, 0, 0)
        self._counted[job] = now
        for direction, old, new in zip(DIRECTIONS, before[1:], now[1:], strict=True):
            self._bytes.labels(direction).inc(max(0, new - old))
