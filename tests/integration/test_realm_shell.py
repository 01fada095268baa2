"""The prompt in a living realm: register, connect, runmpc, jobs, result, exit."""

import json
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.realm_fixture import HERE, LiveRealm, held
from tests.person import Person
from tests.terminal import TAB

pytestmark = [pytest.mark.broker, pytest.mark.slow]

MEAN = "runmpc --statistic mean --dataset visits --column mdvis " + " ".join(HERE)


@pytest.fixture
def person() -> Iterator[Person]:
    """Somebody who has not registered anybody."""
    folder = Path(tempfile.mkdtemp(prefix="mpc-"))
    try:
        yield Person(folder)
    finally:
        shutil.rmtree(folder)


def new_token(live: LiveRealm, prefix: str) -> str:
    """Return a consumer's token."""
    kind = ("--role", "client", "--io", "output", "--prefix", prefix)
    return live.manager("token", "create", *kind).strip()


def is_running(person: Person) -> list[bool]:
    """Return whether a control process runs, for each identity."""
    listed = json.loads(person.run("identities", "--json").stdout)
    return [entry["is_running"] for entry in listed]


def test_a_person_registers_asks_and_leaves(live: LiveRealm, person: Person) -> None:
    """Several jobs share the session that connect began, and exit ends it."""
    token = new_token(live, "Person")
    with person.sit_down() as terminal:
        terminal.until("mpc> ")
        terminal.enter("register")
        terminal.until("token: ")
        terminal.enter(token)
        terminal.until("Person001> ")
        before = live.sessions()
        terminal.enter("connect")
        connected = terminal.until("Person001> ")
        begun = live.sessions() - before
        terminal.press(f"runmpc --stat{TAB}mea{TAB}--dataset visits --column mdvis ")
        terminal.enter(" ".join(HERE))
        first = terminal.until("Person001> ")
        terminal.press(f"result J{TAB}")
        terminal.enter("")
        again = terminal.until("Person001> ")
        terminal.enter(MEAN.replace("mean", "sum"))
        terminal.until("Person001> ")
        terminal.enter("jobs")
        jobs = terminal.until("Person001> ")
        after = live.sessions() - before
        ran = is_running(person)
        terminal.enter("exit")
        code = terminal.end()

    assert code == 0
    assert "Person001 is connected to realm live" in connected
    assert "mean.mdvis" in first
    assert "mean.mdvis" in again
    assert [jobs.count(" done "), jobs.count("visits")] == [2, 2]
    assert len(begun) == 1
    assert after == begun
    assert ran == [True]
    assert is_running(person) == [False]
    assert token not in terminal.text + person.history()
    assert MEAN in person.history()


def test_ctrl_c_leaves_a_job_and_keeps_the_prompt(
    live: LiveRealm, person: Person
) -> None:
    """Whoever does not want to wait asks for the result later, or gives it up.

    A terminal that is closed ends the connection as ``exit`` does.
    """
    token = person.folder / "token"
    token.write_text(new_token(live, "Hasty"))
    with person.sit_down() as terminal:
        terminal.until("mpc> ")
        terminal.enter(f"register --token-file {token}")
        terminal.until("Hasty001> ")
        (person.home / "identity.json").unlink()  # as in a home from before
        terminal.enter("connect")
        terminal.until("Hasty001> ")
        with held(live.data_pid("server1")):
            terminal.enter(MEAN)
            line = terminal.until(": opening links to the MPC servers")
            job = line.split(":")[-2].split()[-1]
            left = terminal.interrupt("Hasty001> ")
            terminal.enter(f"cancel {job}")
            given_up = terminal.until("Hasty001> ")
            terminal.enter(f"result {job}")
            ended = terminal.until("Hasty001> ")
        ran = is_running(person)
        terminal.press("half a li")
        terminal.until("half a li")  # it waits for the rest
        code = terminal.signal(signal.SIGHUP)

    assert code == 0
    assert f"{job} goes on; its result later" in left
    assert f"asked the manager to end {job}" in given_up
    assert f"{job} cancelled" in ended
    assert ran == [True]
    assert is_running(person) == [False]
    assert "Traceback" not in terminal.text


def test_two_identities_from_a_pipe(live: LiveRealm, person: Person) -> None:
    """The second one lies beside the first; each is chosen by name and number."""
    tokens = [new_token(live, prefix) for prefix in ("Piper", "Second")]
    password = person.folder / "password"
    password.write_text("correct horse\n")
    lines = (
        f"register --token-file -\n{tokens[0]}\n"
        f"register --token-file - --password-file {password}\n{tokens[1]}\n"
        f"connect --password-file {password}\n"
        f"{MEAN} --json\n"
        "connect Piper001\n"
        "status --json\n"
        "nonsense\n"
        "exit\n"
    )
    done = person.run("shell", feed=lines)
    assert done.returncode == 2, done.stderr
    first, second, job, status = done.stdout.splitlines()
    by_number = person.run("--identity", "1", "jobs", "--json")
    by_name = person.run(
        *("--identity", "Second001", "jobs", "--json"),
        *("--password-file", str(password)),
    )

    assert (first, second) == ("Piper001", "Second001")
    assert "this is identity 2: --identity Second001" in done.stderr
    assert json.loads(job)["state"] == "done"
    assert json.loads(status)["principal"] == "Piper001"
    assert json.loads(by_number.stdout) == []
    assert [entry["state"] for entry in json.loads(by_name.stdout)] == ["done"]
    assert is_running(person) == [False, False]
