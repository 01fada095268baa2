"""Set-up of a job, from request to ready, beside four bare hops and handshakes.

Request: the consumer's control process has the request. Ready: every link of every
party is authenticated, as the parties report by the clock that they share here.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.floor import Floor
from bench.measured import Figure, Series
from bench.realm import Asked, BenchRealm, server
from bench.tables import COLUMN
from manager.protocol.job_state import Moment
from participant.service.question import MIN_SERVERS, Question
from participant.statistics.params import Params
from shared.errors import JobError

ROWS = 1000
"""Of every source: set-up holds reading them."""
PART = "setup"
WARM_TRIES = 3
_SIZE = re.compile(r"([1-9][0-9]*)x([1-9][0-9]*)")
STEPS = (Moment.REQUESTED, Moment.OFFERED, Moment.STARTED, Moment.READY)


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """How many MPC servers and sources a job has."""

    servers: int
    sources: int

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Read ``3x5``: three servers, five sources.

        Raises:
            ValueError: it is not of this form, or there are too few servers.
        """
        found = _SIZE.fullmatch(text)
        if found is None or int(found[1]) < MIN_SERVERS:
            raise ValueError("write at least two servers and one source, such as 3x1")
        return cls(int(found[1]), int(found[2]))

    @property
    def dataset(self) -> str:
        """The dataset that just so many sources offer."""
        return f"first_{self.sources}"

    @property
    def links(self) -> int:
        """How many links a job has: server to server, and client to server."""
        return self.servers * (self.servers - 1) // 2 + self.servers * (
            self.sources + 1
        )

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.servers}x{self.sources}"


SIZES = (
    Size(3, 1),
    Size(3, 5),
    Size(3, 10),
    Size(5, 5),
    Size(5, 10),
    Size(7, 10),
    Size(10, 10),
    Size(3, 25),
)


def question(size: Size) -> Question:
    """Return the mean that is asked of these parties."""
    return Question(
        params=Params(statistic="mean", columns=(COLUMN,)),
        dataset=size.dataset,
        servers=size.servers,
    )


def measure(
    realm: BenchRealm, bare: Floor, sizes: Sequence[Size], rounds: int
) -> tuple[Figure, ...]:
    """Return set-up of these sizes in a running realm that has their parties."""
    return tuple(
        figure for size in sizes for figure in _measure_size(realm, bare, size, rounds)
    )


def _measure_size(
    realm: BenchRealm, bare: Floor, size: Size, rounds: int
) -> Iterator[Figure]:
    realm.note(f"set-up {size}, {size.links} links, {rounds} rounds")
    names = [server(index).name for index in range(size.servers)]
    times: dict[str, list[float]] = defaultdict(list)
    steps: dict[str, list[Asked]] = defaultdict(list)
    for number in range(rounds + 1):
        cold = _cold(realm, size, names)
        warm = _warm(realm, size, names)
        floors = {
            f"{kind} floor": bare.round_ms(
                size.servers, size.sources, cold=kind == "cold"
            )
            for kind in ("warm", "cold")
        }
        if number == 0:  # the first of everything is not like the others
            continue
        for kind, asked in (("cold", cold), ("warm", warm)):
            times[kind].append(asked.since_request(Moment.READY))
            steps[kind].append(asked)
        for kind, milliseconds in floors.items():
            times[kind].append(milliseconds)
    for kind, floor_name in (
        ("warm", "four hops"),
        ("cold", f"four hops, {size.links} handshakes"),
    ):
        yield Figure(
            PART,
            f"{size} {kind}",
            "ms",
            Series.of(times[kind]),
            ((floor_name, Series.of(times[f"{kind} floor"])),),
            details=_details(steps[kind]),
        )


def _details(jobs: Iterable[Asked]) -> dict[str, float]:
    """Return the median of when each step was reached, ms since the request."""
    reached = list(jobs)
    return {
        moment.value: median(job.since_request(moment) for job in reached)
        for moment in STEPS
    }


def _cold(realm: BenchRealm, size: Size, names: Sequence[str]) -> Asked:
    """Ask with every link new."""
    realm.cut_links(names)
    return realm.ask(question(size))


def _warm(realm: BenchRealm, size: Size, names: Sequence[str]) -> Asked:
    """Ask with every link pooled; a job that opened or lost one does not count.

    Raises:
        JobError: it is so again and again: the figure would be of something else.
    """
    for _ in range(WARM_TRIES):
        before = realm.links(names)
        asked = realm.ask(question(size))
        if realm.links(names) == before:
            return asked
    raise JobError(f"jobs of {size} that should be warm open or lose links")
