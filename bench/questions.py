"""Whole questions, from request to result, beside reading the files with NumPy.

Three sources hold the rows together. The floor is this process, warm, that reads
the three files one after the other and adds their columns up. Both find the files
in the page cache. Beside a mean of many rows stands one of few, asked in turn with
it: that is the job's set-up, and what is left is the rows.
"""

import time
from dataclasses import dataclass
from datetime import timedelta

from bench.measured import Figure, Series
from bench.realm import BenchRealm
from bench.tables import COLUMN, CSV, Table
from participant.service.question import DEFAULT_ENGINE, Question
from participant.statistics import registry
from participant.statistics.params import Params

PART = "questions"
SOURCES = 3
SERVERS = 3
DEADLINE = timedelta(minutes=5)
TABLES = (
    Table("rows_1e4", 10**4, SOURCES),
    Table("rows_1e6", 10**6, SOURCES),
    Table("rows_1e7", 10**7, SOURCES),
    Table("csv_1e6", 10**6, SOURCES, CSV),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A statistic over a table."""

    statistic: str
    table: Table

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"{self.statistic} of {self.table.rows:,} rows, {self.table.suffix}"

    def question(self) -> Question:
        """Return it as a consumer asks it, with an engine that serves it."""
        params = Params(statistic=self.statistic, columns=(COLUMN,))
        engines = registry.checked(params).engines
        return Question(
            params=params,
            dataset=self.table.dataset,
            servers=SERVERS,
            engine=DEFAULT_ENGINE if DEFAULT_ENGINE in engines else min(engines),
            deadline=DEADLINE,
        )


FEW = Case("mean", TABLES[0])
MEDIAN = Case("median", TABLES[1])


def cases() -> tuple[Case, ...]:
    """Return what is asked: means of all tables, and a median."""
    return (*(Case("mean", table) for table in TABLES), MEDIAN)


def measure(realm: BenchRealm, rounds: int) -> list[Figure]:
    """Return the times of all cases in a realm whose sources have the tables."""
    return [_measure_case(realm, case, rounds) for case in cases()]


def _measure_case(realm: BenchRealm, case: Case, rounds: int) -> Figure:
    realm.note(case.name)
    ours: list[float] = []
    floors: list[float] = []
    few: list[float] = []
    is_compared = case.statistic == FEW.statistic and case != FEW
    for number in range(rounds + 1):
        milliseconds = realm.ask(case.question()).seconds * 1000
        began = time.perf_counter()
        case.table.sum(realm.folder)
        floor = (time.perf_counter() - began) * 1000
        few_rows = realm.ask(FEW.question()).seconds * 1000 if is_compared else 0.0
        if number > 0:  # the first of everything is not like the others
            ours.append(milliseconds)
            floors.append(floor)
            few.append(few_rows)
    others = ((f"the same of {FEW.table.rows:,} rows", Series.of(few)),)
    return Figure(
        PART,
        case.name,
        "ms",
        Series.of(ours),
        (
            ("NumPy reads and adds", Series.of(floors)),
            *(others if is_compared else ()),
        ),
    )
