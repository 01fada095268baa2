"""Stacks that were seen become shares of what time is spent on."""

from bench.measured import Figure, Series
from bench.profile import COLUMNS, DISK, read_stacks, shares
from bench.report import spendings

OUTER = "main (manager/cli/main.py:61);Runner.run (asyncio/runners.py:118)"
SEEN = f"""\
{OUTER} 90
{OUTER};handle (manager/service/loop.py:182) 4
{OUTER};handle (manager/service/loop.py:182);validate (pydantic/main.py:792) 3
{OUTER};save (manager/store/jobs.py:9);do_commit (sqlalchemy/engine/default.py:954) 10
{OUTER};save (manager/store/jobs.py:9);execute (sqlalchemy/engine/base.py:1494) 2
{OUTER};open (shared/crypto/sealing.py:96);helper (numpy/x.py:1) 1
_bootstrap (threading.py:1002);_worker (concurrent/futures/thread.py:81) 50
"""


def test_the_innermost_known_part_counts() -> None:
    """Whoever called it spent nothing, and who waits is not seen."""
    found = shares(read_stacks(SEEN))

    assert {name: value for name, value in found.items() if value} == {
        "service": 20.0,
        "message models": 15.0,
        "SQL": 10.0,
        "cryptography": 5.0,
        DISK: 50.0,
    }


def test_a_process_that_only_waited_has_no_shares() -> None:
    """There is nothing to divide by."""
    assert set(shares(read_stacks(SEEN.splitlines()[0])).values()) == {0.0}


def test_the_table_has_a_column_for_every_part() -> None:
    """Figures that were not taken from stacks are not in it."""
    details = shares(read_stacks(SEEN))
    figure = Figure(
        "profile", "CPU a job, manager", "ms", Series.of([30.0]), details=details
    )
    other = Figure("profile", "CPU a job, 3x1, manager", "ms", Series.of([30.0]))

    ((name, total, *parts),) = spendings([figure, other])

    assert (name, total) == ("manager", "30.0 ms")
    assert len(parts) == len(COLUMNS)
    assert parts[COLUMNS.index(DISK)] == "50.0"
