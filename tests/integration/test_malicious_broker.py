"""Real participants and a real broker whose administrator attacks every job.

``ATTACK_SEEDS`` in the environment names the seeds to try again, with commas between.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from manager.broker.access import BrokerAccess, broker_access
from manager.cli.demo_cluster import Party
from manager.config import load_settings
from participant.home.folder import Home
from participant.service.control import request_of
from participant.service.job_list import read_figures
from participant.service.local import Answer, ask
from participant.service.question import Question
from participant.statistics.params import Params
from shared.errors import FailureCode, FrameworkError
from tests.integration.realm_fixture import EXAMPLES, Json, LiveRealm, until
from tests.malicious_broker import Attack, MaliciousBroker

pytestmark = [pytest.mark.broker, pytest.mark.slow]

RUNS = 500
IN_FLIGHT = 48
SERVERS = ("server1", "server2", "server3", "server4", "server5")
SOURCES = ("insurer_a", "insurer_b")
ANALYST = "analyst"
EVERYBODY = (*SERVERS, *SOURCES, ANALYST)
DEADLINE = timedelta(seconds=8)
GRACE = 30.0
"""Seconds after a job's deadline in which everybody must have ended it: a consumer asks
the manager once more after 10, and gives up after 20."""
CODES = frozenset(FailureCode)


@dataclass(frozen=True, slots=True)
class Run:
    """How one job ended at its consumer; ``None`` if it did not."""

    answer: Answer | None
    mean: float | None = None

    @property
    def job(self) -> str:
        """The job's id in hex."""
        return str((self.answer or {}).get("id"))

    @property
    def was_not_begun(self) -> bool:
        """Whether there were too few servers from the first moment on."""
        answer = self.answer or {}
        is_short = answer.get("code") == FailureCode.NO_QUORUM
        return is_short and str(answer.get("reason")).endswith(" online")

    def wrongs(self, expected: float) -> list[str]:
        """Return what must not be."""
        answer = self.answer
        if answer is None:
            return ["no end in time: a hang"]
        if answer["state"] == "done":
            is_right = self.mean is not None and abs(self.mean - expected) < 1e-9
            return [] if is_right else [f"a wrong result: {self.mean}"]
        if answer.get("code") not in CODES or not answer.get("reason"):
            return [f"a failure without a name: {answer}"]
        return []


PAUSE_SECONDS = 0.3
OVER = frozenset({"closed", "delivered", "computed", "refused"})
"""Stages in which a party waits for nobody: an MPC server keeps what it computed until
the result expires."""


def ended_at(lines: Sequence[Json]) -> Mapping[str, bool]:
    """Return the jobs that a party took part in, and whether they are over there."""
    found: dict[str, bool] = {}
    for line in lines:
        if line.get("event") == "job moved":
            found[line["job_id"]] = line.get("stage") in OVER
    return found


def misdeeds(lines: Sequence[Json], text: str) -> list[str]:
    """Return what a party must not have logged."""
    errors = [line["event"] for line in lines if line.get("level") == "error"]
    return errors + ["a traceback"] * text.count("Traceback")


@dataclass
class Harness:
    """The realm, and the questions put to it."""

    realm: LiveRealm
    expected: float
    runs: list[Run] = field(default_factory=list)

    async def ask_all(self, count: int, attacker: MaliciousBroker) -> None:
        """Put so many questions, some at a time.

        Where too many servers look silent at the moment there is no job to attack: its
        question is put again.
        """
        waiting = iter(range(count))

        async def one_after_the_other() -> None:
            for _ in waiting:
                while (run := await self.ask()).was_not_begun:
                    attacker.give_back(run.job)
                    await asyncio.sleep(PAUSE_SECONDS)
                self.runs.append(run)

        await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)))

    async def ask(self) -> Run:
        """Put one question and wait for its end."""
        home = Home(self.realm.home(ANALYST))
        question = Question(
            Params("mean", ("mdvis",)), dataset="visits", deadline=DEADLINE
        )
        last: Answer = {}
        try:
            async with asyncio.timeout(DEADLINE.total_seconds() + GRACE):
                async for answer in ask(home, request_of(question)):
                    last = answer
        except TimeoutError:
            return Run(None)
        except FrameworkError as error:
            return Run({"state": "failed", "code": None, "reason": repr(error)})
        if last.get("state") != "done":
            return Run(last)
        figures = read_figures(last)
        return Run(last, figures["mean"]["mdvis"])  # type: ignore[index, call-overload, arg-type]  # a mean per column

    def open_jobs(self) -> dict[str, list[str]]:
        """Return the jobs that somebody has not closed, by party."""
        found = {
            name: [
                job
                for job, closed in ended_at(list(self.realm.lines(name))).items()
                if not closed
            ]
            for name in EVERYBODY
        }
        return {name: jobs for name, jobs in found.items() if jobs}


def seeds() -> Sequence[int]:
    """Return the seeds of the jobs to run."""
    named = os.environ.get("ATTACK_SEEDS")
    return [int(seed) for seed in named.split(",")] if named else range(1, RUNS + 1)


def inboxes(realm: LiveRealm) -> list[str]:
    """Return the participants' queues."""
    people = json.loads(realm.manager("participants", "list", "--json"))
    return [f"{each['role']}.{each['principal']}" for each in people]


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    """A realm of its own: the attacker owns its broker."""
    realm = LiveRealm(lambda _: None)
    try:
        realm.start_realm("attacked")
        for name in SERVERS:
            home = realm.home(name)
            home.mkdir(mode=0o700)
            # One that a lost message made look silent is soon back.
            settings = 'slots = 64\nstatus_interval = "300ms"\n'
            (home / "participant.toml").write_text(settings)
        realm.add(
            [
                *(
                    Party(name, ("--role", "mpcs"), ("--listen", "127.0.0.1:1270"))
                    for name in SERVERS
                ),
                *(
                    Party(
                        name,
                        ("--role", "client", "--io", "input"),
                        (),
                        EXAMPLES / f"{name}.csv",
                    )
                    for name in SOURCES
                ),
                Party(ANALYST, ("--role", "client", "--io", "output")),
            ]
        )
        honest = realm.mean()["result"]["mean"]["mdvis"]
        yield Harness(realm, honest)
    finally:
        realm.stop()


@pytest.fixture
def access(harness: Harness) -> BrokerAccess:
    """The rights of the broker's administrator."""
    return broker_access(load_settings({"home": harness.realm.home("manager")}))


@pytest.fixture
def attacker(harness: Harness, access: BrokerAccess) -> Iterator[MaliciousBroker]:
    """The attacker at work; afterwards the broker is honest again."""
    attacker = MaliciousBroker(access, inboxes(harness.realm), seeds())
    attacker.start()
    yield attacker
    attacker.stop()


def test_whatever_the_broker_does_every_job_ends_right_or_with_a_name(
    harness: Harness, attacker: MaliciousBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never a wrong result, never a hang, at nobody; then everything is as before."""
    count, began = len(seeds()), time.monotonic()
    asyncio.run(harness.ask_all(count, attacker))
    seconds = time.monotonic() - began
    seed_of = {job: schedule.seed for job, schedule in attacker.schedules.items()}
    wrongs = {
        seed_of.get(run.job, 0): wrong
        for run in harness.runs
        for wrong in run.wrongs(harness.expected)
    }
    attacker.is_honest = True
    until(lambda: not harness.open_jobs(), "everybody has ended all jobs", GRACE)
    attacker.stop()
    realm = harness.realm
    logged = {
        name: misdeeds(list(realm.lines(name)), realm.log(name))
        for name in (*EVERYBODY, "manager")
    }
    states = Counter(
        str((run.answer or {}).get("code") or "done") for run in harness.runs
    )

    with capsys.disabled():
        print(  # noqa: T201 - what 500 runs came to
            f"\n{count} runs in {seconds:.0f} s: {dict(states)}; {dict(attacker.done)}"
        )

    assert wrongs == {}
    assert {name: bad for name, bad in logged.items() if bad} == {}
    assert states["done"] > count / 4
    assert len(attacker.schedules) >= count
    assert set(attacker.done) == set(Attack) or count < RUNS
    assert realm.mean()["state"] == "done"
    slots = json.loads(realm.manager("participants", "list", "--json"))
    assert {each["slots_free"] for each in slots if each["role"] == "mpcs"} == {64}


def test_what_was_said_before_a_restart_counts_for_nothing_after_it(
    harness: Harness, attacker: MaliciousBroker
) -> None:
    """All that a server and the consumer ever heard, said to them again."""
    realm = harness.realm
    attacker.is_honest = True
    for _ in range(3):
        realm.mean()
    said = 0
    for name, role in ((SERVERS[0], "mpcs"), (ANALYST, "client")):
        realm.end(name)
        realm.restart(name)
        said += attacker.replay_everything(f"{role}.{realm.principals[name]}")
    job = realm.mean()
    attacker.stop()

    assert said > 20
    assert job["result"]["mean"]["mdvis"] == harness.expected
    assert not misdeeds(list(realm.lines(ANALYST)), realm.log(ANALYST))


@pytest.mark.parametrize(
    ("run", "wrong"),
    [
        (Run(None), "a hang"),
        (Run({"state": "done"}, 2.5), "a wrong result"),
        (Run({"state": "done"}), "a wrong result"),
        (Run({"state": "failed", "code": "nonsense", "reason": "x"}), "without a name"),
        (Run({"state": "failed", "code": "timeout", "reason": None}), "without a name"),
    ],
)
def test_the_harness_sees_what_must_not_be(run: Run, wrong: str) -> None:
    """Otherwise it would find nothing."""
    assert wrong in run.wrongs(1.5)[0]


def test_the_harness_reads_logs() -> None:
    """Jobs that are open, errors and tracebacks."""
    lines: list[Json] = [
        {"event": "job moved", "job_id": "a", "stage": "accepted"},
        {"event": "job moved", "job_id": "b", "stage": "accepted"},
        {"event": "job moved", "job_id": "a", "stage": "closed"},
        {"event": "broken", "level": "error"},
    ]

    assert ended_at(lines) == {"a": True, "b": False}
    assert misdeeds(lines, "Traceback (most recent call last)") == [
        "broken",
        "a traceback",
    ]


def test_a_schedule_follows_from_its_seed() -> None:
    """So that what went wrong can be tried again."""
    from tests.malicious_broker import Schedule  # noqa: PLC0415 - only here

    assert Schedule(7).attacks == Schedule(7).attacks
    assert 1 <= len(Schedule(7).attacks) <= 4
    assert len({str(Schedule(seed).attacks) for seed in range(50)}) > 40
