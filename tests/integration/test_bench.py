"""The bench measures the product as it is: a change that breaks it shows here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import profile

ROOT = Path(__file__).resolve().parents[2]


def measured(*arguments: str) -> dict[str, dict[str, Any]]:
    """Run the bench for one round and return its figures by name."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--rounds", "1", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    if done.returncode != 0:
        pytest.fail(f"exit {done.returncode}: {done.stderr[-2000:]}")
    return {each["name"]: each for each in json.loads(done.stdout)["figures"]}


@pytest.mark.slow
def test_what_needs_no_realm_stands_beside_its_floors() -> None:
    """Envelopes have their primitives, a transfer has bare TLS and bare TCP."""
    figures = measured("envelopes", "transfer")

    assert set(figures) == {"sealed", "opened", "1 server", "2 servers", "3 servers"}
    assert all(figure["ratio"] > 0 for figure in figures.values())
    assert len(figures["3 servers"]["floors"]) == 2
    assert "bare TCP" in figures["3 servers"]["floors"]


@pytest.mark.slow
@pytest.mark.broker
def test_set_up_is_measured_cold_and_warm() -> None:
    """Links can be cut and kept from outside, and the steps come in their order."""
    figures = measured("setup", "--sizes", "2x1")

    assert set(figures) == {"2x1 warm", "2x1 cold"}
    for figure in figures.values():
        steps = figure["details"]
        assert figure["floors"]
        assert steps["offered"] <= steps["started"] <= steps["ready"]
        assert figure["median"] == steps["ready"]


def _may_look() -> bool:
    """Whether the kernel lets one process look into another of the same user."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    return os.geteuid() == 0 or not scope.exists() or scope.read_text().strip() == "0"


@pytest.mark.skipif(not _may_look(), reason="kernel.yama.ptrace_scope is not 0")
def test_what_processes_do_is_seen_from_outside() -> None:
    """py-spy is there, and what it writes is understood."""
    script = "def spin():\n while True: pass\nspin()"
    with subprocess.Popen([sys.executable, "-c", script]) as busy:
        try:
            (seen,) = profile.stacks_of([busy.pid], 1, lambda: None)
        finally:
            busy.kill()

    assert any("spin" in stack.frames[-1] for stack in seen)
