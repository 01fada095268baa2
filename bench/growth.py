"""What set-up and the manager's work cost as a realm grows, and the fitted orders.

Jobs grow from five parties to 61. Then the registered participants grow to 1,000
and the job stays the same: a real participant's row is copied under other names
into the manager's store, and the manager, started anew, loads them all.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from bench import processes, setup
from bench.fit import fit
from bench.floor import Floor
from bench.measured import Figure, Series
from bench.plot import Line, Panel
from bench.realm import BenchRealm
from bench.setup import Size
from manager.protocol.job_state import Moment
from manager.store.people import SERIALS
from shared.names import MANAGER, Principal

PART = "growth"
SIZES: Final = (
    Size(3, 1),
    Size(3, 5),
    Size(5, 10),
    Size(10, 15),
    Size(10, 25),
    Size(10, 50),
)
REGISTERED: Final = (125, 250, 500, 1000)
REGISTERED_SIZE: Final = Size(3, 5)
JOBS: Final = 3
"""Of a sample."""
FLOOR_JOBS: Final = 10
"""Of a sample of the bare manager process."""
SETUP, CPU = "set-up", "manager CPU a job"
SETUP_FLOOR, CPU_FLOOR = "four hops", "bare manager process"
FLOORS: Final = {SETUP: SETUP_FLOOR, CPU: CPU_FLOOR}


@dataclass(slots=True)
class Curve:
    """Samples in milliseconds, by what they are of and how large the realm was."""

    what: str
    """What grows, in the plural."""
    samples: dict[str, dict[int, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def figures(self) -> list[Figure]:
        """Return every point as a figure beside its floor."""
        return [
            Figure(
                PART,
                f"{name}, {count:,} {self.what}",
                "ms",
                Series.of(values),
                ((FLOORS[name], Series.of(self.samples[FLOORS[name]][count])),),
            )
            for name in FLOORS
            for count, values in self.samples[name].items()
        ]

    def lines(self) -> tuple[Line, ...]:
        """Return the medians with the powers that fit them."""
        found = []
        for name, by_count in self.samples.items():
            points = tuple(
                (float(count), Series.of(values).median)
                for count, values in sorted(by_count.items())
            )
            found.append(Line(name, points, fit(points)))
        return tuple(found)

    def panel(self) -> Panel:
        """Return the plot of it."""
        return Panel(f"more {self.what}", self.what, "ms, median", self.lines())


def measure(realm: BenchRealm, bare: Floor, rounds: int) -> tuple[Curve, Curve]:
    """Return the curves over the parties of a job and over the registered.

    The realm has the parties of all sizes; it is of no use for other parts then.
    """
    parties = Curve("parties of the job")
    for size in SIZES:
        realm.note(f"growth: {size}")
        count = size.servers + size.sources + 1
        _measure_point(realm, bare, size, rounds, parties, count)
    registered = Curve("registered participants")
    for count in (_registered(realm), *REGISTERED):
        realm.note(f"growth: {count} registered")
        _register_rows(realm, count)
        _measure_point(realm, bare, REGISTERED_SIZE, rounds, registered, count)
    return parties, registered


def _measure_point(
    realm: BenchRealm, bare: Floor, size: Size, rounds: int, curve: Curve, count: int
) -> None:
    question = setup.question(size)
    setups = curve.samples[SETUP][count]

    def ask() -> None:
        for _ in range(JOBS):
            asked = realm.ask(question)
            setups.append(float(asked.since_request(Moment.READY)))

    def ask_bare() -> None:
        bare.round_ms(size.servers, size.sources, jobs=FLOOR_JOBS)

    realm.ask(question)  # opens the links; the first is not like the others
    ask_bare()
    for _ in range(rounds):
        cpu_ms = _cpu_ms(realm.pid(MANAGER), ask) / JOBS
        curve.samples[CPU][count].append(cpu_ms)
        floor_ms = bare.round_ms(size.servers, size.sources)
        curve.samples[SETUP_FLOOR][count].append(floor_ms)
        floor_cpu_ms = _cpu_ms(bare.manager_pid, ask_bare) / FLOOR_JOBS
        curve.samples[CPU_FLOOR][count].append(floor_cpu_ms)


def _cpu_ms(pid: int, work: Callable[[], None]) -> float:
    """Return the CPU milliseconds that a process used while work was done."""
    before = processes.cpu_seconds(pid)
    work()
    return (processes.cpu_seconds(pid) - before) * 1000


def _registered(realm: BenchRealm) -> int:
    with realm.store.transaction() as unit:
        return len(unit.people.principals())


def _register_rows(realm: BenchRealm, count: int) -> None:
    """Copy a participant's row until so many are registered; start the manager anew."""
    with realm.store.transaction() as unit:
        known = unit.people.principals()
        for number in range(len(known), count):
            serial = unit.people.take_number(SERIALS)
            name = Principal(f"Registered{number:04}")
            unit.people.save_principal(replace(known[0], principal=name, serial=serial))
    realm.restart_manager()
