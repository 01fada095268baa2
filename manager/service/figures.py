"""What the manager counts, and what is read from its memory at every scrape."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from manager.protocol.job_state import JobState, Moment, reservations
from manager.service.dispatch import Outcome
from manager.service.outbox import Outbox
from manager.service.work import Office, Work
from manager.store.records import Standing
from shared.envelope import DropReason
from shared.errors import FailureCode
from shared.figures import MailFigures
from shared.messages import JobStage
from shared.names import Role

PHASES = {
    "selection": (Moment.REQUESTED, Moment.OFFERED),
    "consent": (Moment.OFFERED, Moment.STARTED),
    "linking": (Moment.STARTED, Moment.READY),
    "setup": (Moment.REQUESTED, Moment.READY),
    "computation": (Moment.RUNNING, Moment.COMPUTED),
    "delivery": (Moment.COMPUTED, Moment.DONE),
}
"""Parts of a job, from which moment to which; ``setup`` is the first three."""
KINDS = ("mpcs", "input", "output", "in/output")
"""MPC servers, and clients by what they may do."""
_PHASE_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
_DELIVERY_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1)


class Figures:
    """The manager's figures; what a transaction did counts once it is committed.

    Args:
        office: whose memory is read at every scrape.
        outbox: likewise.
    """

    def __init__(self, office: Office, outbox: Outbox) -> None:
        self.registry = CollectorRegistry()
        self.mail = MailFigures(self.registry)
        self._requested = Counter(
            "mpc_manager_jobs_requested",
            "Jobs that were asked for and taken.",
            registry=self.registry,
        )
        self._ended = Counter(
            "mpc_manager_jobs_ended",
            "Jobs that ended, by code: done is the one success.",
            ["code"],
            registry=self.registry,
        )
        self._phases = Histogram(
            "mpc_manager_job_phase_seconds",
            "How long the parts of an ended job took; setup is up to the last link.",
            ["phase"],
            buckets=_PHASE_BUCKETS,
            registry=self.registry,
        )
        self._deliveries = Histogram(
            "mpc_manager_delivery_seconds",
            "How long an envelope took from opening it to the commit of its effects.",
            buckets=_DELIVERY_BUCKETS,
            registry=self.registry,
        )
        for code in FailureCode:
            self._ended.labels(code.value)
        for phase in PHASES:
            self._phases.labels(phase)
        self.registry.register(_Standing(office, outbox))

    def handled(self, outcome: Outcome, seconds: float) -> None:
        """Count an envelope that was worth a transaction."""
        self._deliveries.observe(seconds)
        if outcome.reason is not None:
            self.mail.refused(outcome.reason)
        elif outcome.sealed is not None:
            self.mail.opened(outcome.sealed.header.t)

    def dropped(self, reason: DropReason) -> None:
        """Count a delivery that was dropped before any transaction."""
        self.mail.refused(reason)

    def committed(self, work: Work) -> None:
        """Count what a transaction did."""
        for code, number in work.errors.items():
            self.mail.told(code, number)
        for before, after in work.moved:
            if before is None:
                self._requested.inc()
            if after.is_closed and (before is None or not before.is_closed):
                self._end(after)

    def _end(self, job: JobState) -> None:
        if job.code is not None:
            self._ended.labels(job.code.value).inc()
        for phase, (first, last) in PHASES.items():
            began, ended = job.time(first), job.time(last)
            if began is not None and ended is not None:
                seconds = max(0, ended - began) / 1000
                self._phases.labels(phase).observe(seconds)


class _Standing(Collector):
    """Reads the manager's memory; called in the event loop, between transactions."""

    def __init__(self, office: Office, outbox: Outbox) -> None:
        self._office = office
        self._outbox = outbox

    def collect(self) -> Iterator[Metric]:
        """Yield how things stand now."""
        keys = self._office.keys
        yield self._jobs()
        yield from self._participants()
        yield self._slots()
        yield self._letters()
        yield _gauge(
            "mpc_manager_sessions",
            "Sessions of participants, with those that end soon.",
            len(self._office.memory.sessions),
        )
        yield _gauge(
            "mpc_manager_keys_end_timestamp_seconds",
            "When the manager's keys end, in seconds since 1970.",
            min(keys.ends, keys.authorities[0].ends) / 1000,
        )

    def _jobs(self) -> Metric:
        stages = dict.fromkeys(JobStage, 0)
        del stages[JobStage.CLOSED]
        for job in self._office.memory.jobs.values():
            stages[job.stage] += 1
        family = GaugeMetricFamily(
            "mpc_manager_jobs",
            "Open jobs by stage; those in stage requested wait for servers.",
            labels=["stage"],
        )
        for stage, number in stages.items():
            family.add_metric([stage.value], number)
        return family

    def _participants(self) -> Iterator[Metric]:
        memory = self._office.memory
        registered = dict.fromkeys(KINDS, 0)
        online = dict.fromkeys(KINDS, 0)
        for record in memory.principals.values():
            if record.standing is not Standing.REGISTERED:
                continue
            is_server = record.role is Role.MPCS or record.io is None
            kind = Role.MPCS.value if is_server else str(record.io)
            registered[kind] += 1
            online[kind] += memory.presence(record.principal).is_online
        for name, text, numbers in (
            ("participants", "Registered participants by kind.", registered),
            ("participants_online", "Participants that are online.", online),
        ):
            family = GaugeMetricFamily(f"mpc_manager_{name}", text, labels=["kind"])
            for kind, number in numbers.items():
                family.add_metric([kind], number)
            yield family

    def _slots(self) -> Metric:
        memory = self._office.memory
        servers = memory.pool().servers()
        family = GaugeMetricFamily(
            "mpc_manager_slots",
            "Slots of the online MPC servers: all, free, and reserved by jobs.",
            labels=["state"],
        )
        family.add_metric(["all"], sum(server.slots for server in servers))
        family.add_metric(["free"], sum(server.slots_free for server in servers))
        reserved = reservations(memory.jobs.values())
        family.add_metric(["reserved"], reserved.total())
        return family

    def _letters(self) -> Metric:
        family = GaugeMetricFamily(
            "mpc_manager_letters",
            "Letters to be published: now, after a task, or late at a full inbox.",
            labels=["state"],
        )
        for state, number in self._outbox.waiting().items():
            family.add_metric([state], number)
        return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
