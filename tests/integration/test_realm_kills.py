"""Processes that are killed: every job ends with a reason, and the next one works."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from manager.protocol.job_state import JobState
from shared.errors import FailureCode
from shared.messages import JobStage
from tests.integration.realm_fixture import (
    ANALYST,
    BOTH,
    HERE,
    SERVERS,
    SOURCES,
    SPARE,
    VISITOR,
    Command,
    Json,
    LiveRealm,
    data_process_of,
    held,
    until,
)

pytestmark = [pytest.mark.broker, pytest.mark.slow]

VICTIM, HELD = "server2", "server1"
AT_ONCE = 5.0
"""Seconds from the death of a process to the job's end at every party."""
MEAN = ("mean", "--column", "mdvis")


@contextmanager
def killed(live: LiveRealm, name: str) -> Iterator[None]:
    """Kill a control process, and have it back at the end."""
    live.kill(name)
    try:
        yield
    finally:
        live.restart(name)


def reached(live: LiveRealm, job: JobState, stage: JobStage) -> JobState:
    """Wait until a job is in a stage or past it."""
    stages = list(JobStage)

    def check() -> JobState | None:
        found = live.state(job.job)
        return found if stages.index(found.stage) >= stages.index(stage) else None

    return until(check, f"job {job.number} is {stage}")


def started_at(live: LiveRealm, job: JobState, name: str) -> None:
    """Wait until a party was told to start."""
    until(
        lambda: any(
            line.get("job_id") == job.job.hex() and line.get("stage") == "started"
            for line in live.lines(name)
        ),
        f"job {job.number} is started at {name}",
    )


def servers_of(live: LiveRealm, number: str) -> set[str]:
    """Return the MPC servers of a job."""
    parties = live.shown(number)["parties"]
    return {p["principal"] for p in parties if p["role"] == "mpcs"}


def test_a_dead_server_is_replaced(live: LiveRealm) -> None:
    """The manager does not know yet that it is dead when it offers the job."""
    before = servers_of(live, live.mean()["job"])
    name = next(n for n in SERVERS if live.principals[n] in before)
    with killed(live, name):
        job = live.mean()
        after = servers_of(live, job["job"])
        epoch = live.shown(job["job"])["epoch"]

    everybody = {live.principals[n] for n in (*SERVERS, SPARE)}
    assert job["state"] == "done"
    assert after == everybody - {live.principals[name]}
    assert epoch == 2


def test_a_dead_server_without_a_substitute_is_named(live: LiveRealm) -> None:
    """All four are asked for, and one of them does not answer."""
    with killed(live, VICTIM):
        done = live.ask(ANALYST, *MEAN, "--servers", "4").wait()
    job = done.json()
    after = live.mean(ANALYST, "--servers", "4")

    assert done.code == 1
    assert job["party"] == live.principals[VICTIM]
    assert live.principals[VICTIM] in job["reason"]
    assert live.shown(job["job"])["reason"] == job["reason"]
    assert after["servers"] == 4


def failed(live: LiveRealm, asked: Command, job: JobState, since: float) -> Json:
    """Return a job that has failed at every party, at once and with one reason."""
    done = asked.wait()
    elapsed = time.monotonic() - since
    found = done.json()
    parties = [name for name in (*SERVERS, *SOURCES, ANALYST) if name != VICTIM]
    endings = [
        until(
            lambda name=name: live.ending(name, job.job),  # type: ignore[misc]  # a default as a closure
            f"job {job.number} is closed at {name}",
            since + AT_ONCE - time.monotonic(),
        )
        for name in parties
    ]
    shown = live.shown(found["job"])

    assert done.code == 1
    assert elapsed < AT_ONCE
    assert found["reason"]
    assert found["party"] == live.principals[VICTIM]
    for entry in endings:
        assert (entry["code"], entry["party"], entry["reason"]) == (
            found["code"],
            found["party"],
            found["reason"],
        )
    assert [shown[key] for key in ("state", "outcome", "party", "reason")] == [
        "closed",
        "failed",
        found["party"],
        found["reason"],
    ]
    return found


LOST = frozenset({FailureCode.PARTY_LOST, FailureCode.LINK_FAILED})


@pytest.mark.parametrize(
    ("process", "codes"),
    # Of its data process a party tells itself, if it is faster than its peers.
    [("control", LOST), ("data", LOST | {FailureCode.INTERNAL})],
    ids=["control", "data"],
)
def test_a_server_killed_during_a_job_ends_it_everywhere(
    live: LiveRealm, process: str, codes: frozenset[FailureCode]
) -> None:
    """Everybody hears who it was, the manager remembers, and the next job works."""
    before = live.newest()
    with ExitStack() as stack:
        stack.enter_context(held(live.data_pid(HELD)))
        asked = live.ask(ANALYST, *MEAN, *HERE)
        job = live.next_job(before)
        reached(live, job, JobStage.STARTED)
        for name in (*SERVERS, *SOURCES, ANALYST):
            started_at(live, job, name)
        since = time.monotonic()
        if process == "control":
            stack.enter_context(killed(live, VICTIM))
        else:
            os.kill(live.data_pid(VICTIM), signal.SIGKILL)
        found = failed(live, asked, job, since)
    after = live.mean(ANALYST, *HERE)

    assert found["code"] in codes
    assert after["state"] == "done"


def test_62_a_killed_manager_goes_on_without_new_logins(live: LiveRealm) -> None:
    """Sessions are in its store: nobody has to authenticate again."""
    live.mean()
    before = live.sessions()
    live.kill("manager")
    live.restart_manager()
    job = live.mean()
    after = live.sessions()

    assert job["state"] == "done"
    assert after <= before


@pytest.mark.parametrize("stage", [JobStage.OFFERED, JobStage.STARTED])
def test_a_job_survives_the_manager_or_ends_with_a_reason(
    live: LiveRealm, stage: JobStage
) -> None:
    """It was killed in the middle; no command waits for ever."""
    before = live.newest()
    slow = SOURCES[0] if stage is JobStage.OFFERED else HELD
    with held(live.data_pid(slow)):
        asked = live.ask(ANALYST, *MEAN, *HERE)
        job = reached(live, live.next_job(before), stage)
        live.kill("manager")
    live.restart_manager()
    found = asked.wait().json()
    after = live.mean()

    assert found["state"] == "done" or found["reason"]
    assert reached(live, job, JobStage.CLOSED).outcome is not None
    assert after["state"] == "done"


@pytest.mark.parametrize("consumer", [VISITOR, ANALYST], ids=["command", "process"])
def test_63_a_killed_consumer_gets_its_result_later(
    live: LiveRealm, consumer: str
) -> None:
    """The servers keep what they computed, for it and for nobody else."""
    clear = live.mean()["result"]
    before = live.newest()
    with ExitStack() as stack:
        source = stack.enter_context(ExitStack())
        source.enter_context(held(live.data_pid(SOURCES[0])))
        asked = live.ask(consumer, *MEAN)
        job = reached(live, live.next_job(before), JobStage.OFFERED)
        control = asked.pid if consumer == VISITOR else live.pid(consumer)
        data = data_process_of(control)
        os.kill(data, signal.SIGSTOP)
        source.close()
        job = reached(live, job, JobStage.COMPUTED)
        if consumer == VISITOR:
            os.kill(control, signal.SIGKILL)
        else:
            live.kill(consumer)
        os.kill(data, signal.SIGKILL)
    interrupted = asked.wait()
    number = live.shown(job.job.hex())["number"]
    if consumer != VISITOR:
        live.restart(consumer)
    foreign = live.run(BOTH, "result", number)
    done = live.run(consumer, "result", number, "--json")
    again = live.run(consumer, "result", number, "--json")

    assert interrupted.code != 0
    assert foreign.code == 5
    assert foreign.out == ""
    assert done.code == 0, done.err
    assert done.json()["result"] == clear
    assert again.json()["result"] == clear
    assert reached(live, job, JobStage.CLOSED).outcome == "done"
