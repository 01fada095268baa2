"""The example of an engine as a package: built, installed, checked and asked."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from participant.engines.conformance.checks import CHECKS
from participant.engines.conformance.subject import Subject
from participant.engines.registry import engine, names
from tests.integration.dataplane_realm import world
from tests.worker_engines import plugged_in

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "engine_plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip put the example, with nothing but what is on this machine."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "source")  # setuptools builds beside the source
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
            "--no-build-isolation", "--no-index", "--disable-pip-version-check",
            "--target", str(folder / "target"), str(folder / "source"),
        ],
        check=True,
    )  # fmt: skip
    return folder / "target"


@pytest.fixture(autouse=True)
def _example(installed: Path) -> Iterator[None]:
    """The example is installed."""
    with plugged_in(installed):
        yield
    sys.modules.pop("open_sum", None)


@pytest.mark.parametrize("check", CHECKS)
def test_the_example_conforms(check: str) -> None:
    """What its page tells others to run."""
    CHECKS[check](Subject(engine("open-sum")))


def test_the_example_answers_a_question(tmp_path: Path) -> None:
    """From sources to the consumer, over the links of three servers."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            sources = [
                await realm.source("Hospital001", [1, 2, 3]),
                await realm.source("Hospital002", [4, 6]),
            ]
            consumer = await realm.source("Liberty001", [])
            job = realm.job(
                await realm.servers(3), sources, consumer, engine="open-sum"
            )
            await job.prepare()
            await job.start()
            for party in job.parties():
                await party.reached(job.id, "delivered")

            assert "open-sum" in names()
            assert job.result() == {"sources": 2, "n": 5, "mean": {"age": 3.2}}

    asyncio.run(scenario())
