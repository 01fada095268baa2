"""Runs the parts of the bench that are wanted, in a realm that grows with them."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum, unique

from bench import (
    enrolment,
    envelopes,
    growth,
    machine,
    memory,
    profile,
    questions,
    setup,
    throughput,
    transfer,
)
from bench.floor import Floor, floor
from bench.measured import Figure
from bench.plot import Panel
from bench.realm import BenchRealm, Member, consumer, server, source
from bench.setup import Size
from bench.tables import Table
from manager.broker.access import broker_access

SMALL = Table("small", setup.ROWS, 1)
JOB_SIZE = Size(3, 3)
"""Of throughput."""


@unique
class Part(StrEnum):
    """What can be measured by itself, in the order in which all are."""

    ENVELOPES = envelopes.PART
    TRANSFER = transfer.PART
    MEMORY = memory.PART
    QUESTIONS = questions.PART
    THROUGHPUT = throughput.PART
    ENROLMENT = enrolment.PART
    SETUP = setup.PART
    PROFILE = profile.PART
    GROWTH = growth.PART


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure. ``rounds``: samples of each figure."""

    parts: frozenset[Part]
    sizes: tuple[Size, ...]
    rounds: int

    def sizes_of(self, part: Part) -> tuple[Size, ...]:
        """Return the sizes of the jobs that a part asks for."""
        if part not in self.parts:
            return ()
        match part:
            case Part.SETUP:
                return self.sizes
            case Part.PROFILE:
                return (*profile.SIZES, profile.SAMPLED_SIZE)
            case Part.GROWTH:
                return growth.SIZES
            case Part.THROUGHPUT:
                return (JOB_SIZE,)
            case _:
                return ()

    @property
    def job_sizes(self) -> tuple[Size, ...]:
        """Every size that some part asks for, the smallest first."""
        return tuple(sorted({size for part in Part for size in self.sizes_of(part)}))

    @property
    def asks_questions(self) -> bool:
        """Whether sources need the large tables."""
        return not self.parts.isdisjoint({Part.MEMORY, Part.QUESTIONS})


@dataclass(slots=True)
class Results:
    """Everything that was measured."""

    figures: list[Figure] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    machine: Mapping[str, str] = field(default_factory=dict)


class Bench:
    """One run.

    Args:
        wanted: what to measure.
        note: is told what happens.
    """

    def __init__(self, wanted: Wanted, note: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._note = note
        self._results = Results()
        self._present: set[str] = set()

    def run(self) -> Results:
        """Measure; everything that was started has ended when this returns."""
        wanted, figures = self._wanted, self._results.figures
        if Part.ENVELOPES in wanted.parts:
            self._note("envelopes")
            figures += envelopes.measure(wanted.rounds)
        if Part.TRANSFER in wanted.parts:
            self._note("share transfer")
            figures += transfer.measure(wanted.rounds)
        self._results.machine = machine.describe(None)
        if wanted.parts - {Part.ENVELOPES, Part.TRANSFER}:
            self._in_realm()
        return self._results

    def _in_realm(self) -> None:
        with ExitStack() as stack:
            realm = BenchRealm(note=self._note)
            stack.callback(realm.stop)
            realm.start_realm("bench")
            SMALL.write(realm.folder, 0)
            access = broker_access(realm.settings)
            with access.admin() as admin:
                self._results.machine = machine.describe(admin.overview())
            self._small(realm)
            sizes = self._wanted.job_sizes
            bare = stack.enter_context(
                floor(
                    realm,
                    max((size.servers for size in sizes), default=0),
                    max((size.sources for size in sizes), default=0),
                )
            )
            self._large(realm, bare)

    def _small(self, realm: BenchRealm) -> None:
        """Measure what wants a small realm with nothing else beside it."""
        wanted, figures = self._wanted, self._results.figures
        if not wanted.asks_questions:
            return
        self._bring(realm, Size(questions.SERVERS, questions.SOURCES))
        cases = questions.cases()
        if Part.MEMORY in wanted.parts:
            realm.ask(cases[0].question())
            largest = max(cases, key=lambda case: case.table.rows)
            asked = [largest.question(), questions.MEDIAN.question()]
            figures += memory.measure(realm, asked)
        if Part.QUESTIONS in wanted.parts:
            figures += questions.measure(realm, wanted.rounds)

    def _large(self, realm: BenchRealm, bare: Floor) -> None:
        """Measure what is done beside the floor's processes."""
        wanted, figures = self._wanted, self._results.figures
        if Part.THROUGHPUT in wanted.parts:
            self._bring(realm, JOB_SIZE)
            figures += throughput.measure(realm, bare, JOB_SIZE, wanted.rounds)
        if Part.ENROLMENT in wanted.parts:
            figures += enrolment.measure(realm, bare, wanted.rounds)
        if Part.SETUP in wanted.parts:
            self._bring(realm, *wanted.sizes)
            figures += setup.measure(realm, bare, wanted.sizes, wanted.rounds)
        if Part.PROFILE in wanted.parts:
            self._bring(realm, *profile.SIZES)
            figures += profile.measure(realm, bare, wanted.rounds)
        if Part.GROWTH in wanted.parts:
            self._bring(realm, *growth.SIZES)
            for curve in growth.measure(realm, bare, wanted.rounds):
                figures += curve.figures()
                self._results.panels.append(curve.panel())

    def _bring(self, realm: BenchRealm, *sizes: Size) -> None:
        """Bring the parties in that jobs of these sizes need and are not there."""
        needed = [
            *map(server, range(max(size.servers for size in sizes))),
            *(
                self._source(realm, index)
                for index in range(max(size.sources for size in sizes))
            ),
            consumer(),
        ]
        missing = [member for member in needed if member.name not in self._present]
        realm.bring(missing)
        self._present |= {member.name for member in missing}

    def _source(self, realm: BenchRealm, index: int) -> Member:
        """Return a source with every dataset that any part will ask it for."""
        name = source(index, ()).name
        if name in self._present:
            return source(index, ())
        datasets = [
            (size.dataset, SMALL.path(realm.folder, 0))
            for size in self._wanted.job_sizes
            if index < size.sources
        ]
        if self._wanted.asks_questions and index < questions.SOURCES:
            datasets += [
                (table.dataset, table.write(realm.folder, index))
                for table in questions.TABLES
            ]
        return source(index, datasets)
