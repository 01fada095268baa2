"""A job as the parts of the data plane need it, read from what control sent."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from participant.dataplane.ipc import JobProgress, Peer, StartJob, ToControl
from participant.dataplane.journal import Journal
from participant.dataplane.pool import LinkPool, Target
from participant.dataplane.times import Times
from participant.engines.base import Engine, Plan
from participant.engines.registry import engine, is_plugin
from participant.engines.worker.launcher import Workers
from participant.statistics.base import Statistic
from participant.statistics.params import Params, parse_params
from participant.statistics.registry import checked
from shared import codec
from shared.clock import Clock, to_ms
from shared.errors import RefusalCode, RefusedError
from shared.messages.job import Spec, read_spec
from shared.names import Duty, JobId, Principal, Realm, Role

RESULT_LABEL: Final = b"MPX1-result\0"


@dataclass(frozen=True, slots=True)
class Environment:
    """What all jobs of this process share.

    ``folder``: under which each job has its own. ``workers``: for engines that need a
    process of their own.
    """

    pool: LinkPool
    clock: Clock
    times: Times
    folder: Path
    emit: Callable[[ToControl], None]
    workers: Workers


@dataclass(frozen=True, slots=True)
class Question:
    """What a spec asks, as the statistic and the engine know it."""

    spec: Spec
    params: Params
    statistic: Statistic
    engine: Engine

    def plan(self, job: JobId, party: int | None, sources: int) -> Plan:
        """Return the engine's plan for so many sources, checked by the engine.

        Raises:
            RefusedError: the engine cannot serve such a job.
        """
        plan = Plan(
            job=job,
            parties=self.spec.servers,
            party=party,
            sources=sources,
            threshold=self.spec.threshold,
            width=self.statistic.width(self.params),
            program=self.statistic.program(self.params),
        )
        self.engine.check(plan)
        return plan


def read_question(packed_spec: bytes) -> Question:
    """Return what a spec asks.

    Raises:
        RefusedError: there is no such statistic or engine, or it cannot be asked so.
        DecodeError: it is no spec.
    """
    spec = read_spec(packed_spec)
    params = parse_params(spec.params)
    statistic = checked(params)
    # What a plugin's engine can run it says itself, when it checks the plan.
    if spec.engine not in statistic.engines and not is_plugin(spec.engine):
        raise RefusedError(
            f"{statistic.name} is not served by engine {spec.engine!r}",
            RefusalCode.UNSUPPORTED,
        )
    return Question(spec, params, statistic, engine(spec.engine))


@dataclass(frozen=True, slots=True)
class Order:
    """One party's part of one job.

    ``servers``: in the order of their party indexes. ``duties``: this party's own.
    ``started``: when, in milliseconds since the Unix epoch.
    """

    start: StartJob
    question: Question
    plan: Plan
    duties: frozenset[Duty]
    servers: tuple[Peer, ...]
    sources: tuple[Peer, ...]
    consumer: Principal
    journal: Journal
    environment: Environment
    started: int

    def target(self, server: Peer) -> Target:
        """Return how a server is dialled for this job."""
        return Target(
            principal=server.p,
            own_spki=self.start.own_spki,
            spki=server.spki,
            realm=Realm(self.start.realm),
            addresses=server.addrs,
        )

    def result_info(self, server: Principal) -> bytes:
        """Return what a server's output share is bound to when it is sealed."""
        start = self.start
        return RESULT_LABEL + codec.encode(
            [start.fingerprint, start.job, start.epoch, server, start.manifest_hash]
        )

    def now_ms(self) -> int:
        """Return the time in milliseconds since the Unix epoch."""
        return to_ms(self.environment.clock.now())

    def seconds_until(self, moment: int) -> float:
        """Return how long it is until a time in milliseconds since the Unix epoch."""
        return max(0, moment - self.now_ms()) / 1000

    def progress(self, phase: str, taken: int, sent: int) -> None:
        """Tell the control process that a phase was reached.

        Args:
            phase: which.
            taken: bytes of data that came in for this job so far.
            sent: bytes of data that went out.
        """
        now = self.now_ms()
        is_result = phase == "delivered" and Duty.OUTPUT in self.duties
        self.environment.emit(
            JobProgress.model_validate(
                {
                    "job": self.start.job,
                    "epoch": self.start.epoch,
                    "phase": phase,
                    "at": now,
                    "ms": max(0, now - self.started),
                    "bytes_in": taken,
                    "bytes_out": sent,
                    "result": str(self.journal.result_path) if is_result else None,
                }
            )
        )


def read_order(start: StartJob, environment: Environment) -> Order:
    """Return the order in a ``StartJob``.

    Raises:
        RefusedError: this party cannot do it.
        DecodeError: the spec is malformed.
    """
    question = read_question(start.spec)
    servers = {
        peer.party: peer
        for peer in start.parties
        if peer.role is Role.MPCS and peer.party is not None
    }
    sources = tuple(peer for peer in start.parties if Duty.INPUT in peer.duties)
    own = [peer for peer in start.parties if peer.p == start.me]
    # A client need not know the other sources.
    knows_sources = start.party is None or len(sources) == start.sources
    has_servers = sorted(servers) == list(range(question.spec.servers))
    if not has_servers or not knows_sources or len(own) != 1:
        raise RefusedError(
            "the job's parties are not this one, all servers and, for a server, all"
            " sources",
            RefusalCode.MANIFEST_INVALID,
        )
    return Order(
        start=start,
        question=question,
        plan=question.plan(start.job, start.party, start.sources),
        duties=frozenset(Duty(duty) for duty in own[0].duties),
        servers=tuple(servers[index] for index in sorted(servers)),
        sources=sources,
        consumer=question.spec.consumer,
        journal=Journal(environment.folder, start.job),
        environment=environment,
        started=to_ms(environment.clock.now()),
    )
