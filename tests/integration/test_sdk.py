"""The Python interface in a living realm, and everything that docs/sdk.md shows."""

import asyncio
import contextlib
import io
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from participant.home.folder import Home
from participant.sdk import (
    Analyst,
    AsyncAnalyst,
    ConfigError,
    FailureCode,
    JobCancelledError,
    JobRefusedError,
    NotRunningError,
    PerColumn,
    Phase,
    Progress,
    RefusalCode,
    RefusedError,
    ResultTimeoutError,
    TransportError,
)
from participant.service.local import ask_once
from participant.service.running import is_running
from tests import notebook
from tests.integration.realm_fixture import (
    ANALYST,
    EXAMPLES,
    SOURCES,
    VISITOR,
    LiveRealm,
    held,
)

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "sdk.md"
NOTEBOOK = ROOT / "examples" / "notebook" / "insurers.ipynb"

_EXAMPLE = re.compile(
    r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


def runs(home: Path) -> bool:
    """Say whether a control process works in a home."""
    return asyncio.run(is_running(Home(home)))


def column(name: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return a column of all sources together."""
    tables = [
        np.genfromtxt(EXAMPLES / f"{source}.csv", delimiter=",", names=True)
        for source in SOURCES
    ]
    return np.concatenate([table[name] for table in tables])


@pytest.fixture
def here(live: LiveRealm, monkeypatch: pytest.MonkeyPatch) -> LiveRealm:
    """The realm, with the working directory above all homes."""
    monkeypatch.chdir(live.folder)
    return live


def test_every_block_of_the_page_does_what_it_shows(here: LiveRealm) -> None:
    """Readers copy these blocks; one namespace for all, as in a notebook."""
    assert here.home(ANALYST).is_dir()
    namespace: dict[str, object] = {}
    shown, printed = [], []
    for code, output in _EXAMPLE.findall(PAGE.read_text()):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(code, str(PAGE), "exec"), namespace)
        shown.append(output)
        printed.append(said.getvalue())

    assert shown == printed
    assert len(shown) >= 8


def test_the_notebook_shows_what_it_has_in_it(
    live: LiveRealm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outputs are those of a run; here is another one."""
    stored = json.loads(NOTEBOOK.read_text())
    monkeypatch.chdir(NOTEBOOK.parent)
    monkeypatch.setenv("MPC_HOME", str(live.home(ANALYST)))

    assert notebook.stored(stored) == notebook.outputs(stored)


def test_a_block_has_a_control_process_of_its_own(live: LiveRealm) -> None:
    """It is logged on once for all jobs, and gone when the block ends."""
    home = live.home(VISITOR)
    before = live.sessions()
    heard: list[Progress] = []
    with Analyst(home) as analyst:
        jobs = [
            analyst.runmpc(
                name, dataset="visits", columns="mdvis", progress=heard.append
            )
            for name in ("mean", "sum", "count")
        ]
        results = [job.result() for job in jobs]
        listed = {record.job: record for record in analyst.jobs()}
        ran, begun = runs(home), live.sessions() - before
    expected = column("mdvis")

    assert ran
    assert not runs(home)
    assert len(begun) == 1
    assert isinstance(results[0], PerColumn)
    assert results[0]["mdvis"] == pytest.approx(expected.mean())
    assert results[0].rows == len(expected)
    assert [listed[job.name].state for job in jobs] == ["done"] * 3
    assert {news.job for news in heard if news.phase is Phase.DONE} == {
        job.name for job in jobs
    }
    with pytest.raises(NotRunningError, match="not open"):
        analyst.jobs()


def test_a_process_that_runs_is_used_and_left_as_it_is(live: LiveRealm) -> None:
    """``mpc-participant run`` belongs to somebody else."""
    home, process = live.home(ANALYST), live.pid(ANALYST)
    with Analyst(home) as analyst:
        first = analyst.runmpc("mean", dataset="visits", columns=["mdvis"]).result()
        again = analyst.result(first.job)

    assert runs(home)
    assert live.pid(ANALYST) == process
    assert analyst.principal == live.principals[ANALYST]
    assert again.figures == first.figures


def test_what_was_left_can_be_waited_for_and_given_up(live: LiveRealm) -> None:
    """A timeout leaves the job, and so does the end of the block before it starts."""
    with held(live.pid("server1")):  # which does not answer the offer
        with Analyst(live.home(VISITOR)) as analyst:
            job = analyst.runmpc(
                "mean", dataset="visits", columns="mdvis", location="here"
            )
            with pytest.raises(ResultTimeoutError, match="no result yet"):
                job.result(timeout=0)
            with pytest.raises(TimeoutError):
                job.result(timeout=0.01)
        with pytest.raises(NotRunningError, match="not open"):
            job.result()
        with Analyst(live.home(VISITOR)) as analyst:
            found = analyst.job(job.id)
            was_over = found.is_over
            found.cancel()
            with pytest.raises(JobCancelledError) as caught:
                found.result()

    assert caught.value.code is FailureCode.CANCELLED
    assert (was_over, found.is_over) == (False, True)
    assert found.id == job.id


def test_a_refusal_names_party_and_phase(live: LiveRealm) -> None:
    """The caller decides by code, not by text."""
    with Analyst(live.home(ANALYST)) as analyst:
        with pytest.raises(JobRefusedError) as caught:
            analyst.runmpc("mean", dataset="visits", columns="no_such").result()
        with pytest.raises(RefusedError) as unknown:
            analyst.result("J999")

    error = caught.value
    assert error.code is FailureCode.REFUSED
    assert error.party in {live.principals[name] for name in SOURCES}
    assert error.phase in {Phase.ASKED, Phase.ACCEPTING}
    assert "no_such" in str(error)
    assert unknown.value.code is RefusalCode.PARAMETERS


def test_what_a_listener_raises_comes_out_of_the_result(live: LiveRealm) -> None:
    """The job goes on without it."""

    def listen(progress: Progress) -> None:
        raise LookupError(progress.phase)

    with Analyst(live.home(ANALYST)) as analyst:
        job = analyst.runmpc("mean", dataset="visits", columns="mdvis", progress=listen)
        with pytest.raises(LookupError):
            job.result()

        assert analyst.result(job.id).rows == 20190


def test_a_control_process_that_ends_is_told(live: LiveRealm) -> None:
    """Whoever waits must not wait for ever."""
    home = live.home(VISITOR)
    with held(live.data_pid("server1")), Analyst(home) as analyst:
        job = analyst.runmpc("mean", dataset="visits", columns="mdvis", location="here")
        asyncio.run(ask_once(Home(home), {"op": "stop"}))
        with pytest.raises(TransportError, match="control process ended"):
            job.result()
        with pytest.raises((NotRunningError, TransportError)):
            analyst.runmpc("mean", dataset="visits", columns="mdvis")


def test_who_cannot_ask_is_told_at_once(live: LiveRealm, tmp_path: Path) -> None:
    """No consumer, nobody registered, no such folder."""
    with pytest.raises(ConfigError, match="is not a consumer"):
        Analyst(live.home("server1")).open()
    (tmp_path / "empty").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="nobody is registered"):
        Analyst(tmp_path / "empty").open()
    with pytest.raises(ConfigError, match="there is no folder"):
        Analyst(tmp_path / "nowhere").open()

    assert runs(live.home("server1"))
    assert not (tmp_path / "nowhere").exists()


def test_a_key_file_with_a_password_needs_it(live: LiveRealm, tmp_path: Path) -> None:
    """A wrong one is told with what the control process said of it."""
    home = Home(tmp_path / "sealed")
    identity = Home(live.home(VISITOR)).key_file(None).load()
    home.key_file(b"right").save(identity)

    with pytest.raises(ConfigError, match="none was given"):
        Analyst(home.path).open()
    with pytest.raises(ConfigError, match=r"does not come up: .*password"):
        Analyst(home.path, password="wrong").open()
    with Analyst(home.path, password="right") as analyst:
        result = analyst.runmpc("count", dataset="visits", columns="mdvis").result()

    assert result.rows == 20190


def test_asyncio_programs_wait_for_many_jobs(live: LiveRealm) -> None:
    """Jobs overlap; a waiter that is cancelled leaves its job to others."""

    async def scene() -> list[float | int | None]:
        async with AsyncAnalyst(live.home(ANALYST)) as analyst:
            jobs = [
                await analyst.runmpc("mean", dataset="visits", columns=name)
                for name in ("mdvis", "disea", "physlm")
            ]
            waiter = asyncio.create_task(jobs[0].result())
            await asyncio.sleep(0)
            waiter.cancel()
            results = await asyncio.gather(*(job.result() for job in jobs))
        assert waiter.cancelled()
        found = []
        for result in results:
            assert isinstance(result, PerColumn)
            found.append(result[result.columns[0]])
        return found

    expected = [column(name).mean() for name in ("mdvis", "disea", "physlm")]

    assert asyncio.run(scene()) == pytest.approx(expected)


def test_nothing_of_it_remains(live: LiveRealm) -> None:
    """Neither threads nor a process, where a block raises or is never left."""
    home = live.home(VISITOR)
    analyst = Analyst(home)

    def fail() -> None:
        with analyst:
            analyst.open()  # once more is harmless
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    analyst.close()
    code = (
        "from participant.sdk import Analyst\n"
        f"analyst = Analyst({str(home)!r}).open()\n"
        "analyst.runmpc('mean', dataset='visits', columns='mdvis').result()\n"
        "print(analyst.principal)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == live.principals[VISITOR]
    assert not runs(home)
    assert not [each for each in threading.enumerate() if each.name == "mpc-sdk"]
