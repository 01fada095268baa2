"""What the pages tell their readers to type does what the pages show."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import Step, matches, steps_of, walk

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        (["a"], ["a"], True),
        (["a"], ["b"], False),
        (["a"], ["a", "b"], False),
        (["a.c"], ["abc"], False),
        (["a…c"], ["a b c"], True),
        (["a…"], ["a"], True),
        (["…", "c"], ["a", "b", "c"], True),
        (["…", "c"], ["c"], True),
        (["…", "c"], ["c", "d"], False),
        (["a", "…"], ["a"], True),
        ([], ["a"], False),
        (["│ a … │"], ["│ a     bc      │"], True),
        (["┏━━┓"], ["┏━━━━━┓"], True),
        (["┏━━┓"], ["┏━━┳━━┓"], False),
    ],
)
def test_dots_stand_for_anything(
    shown: list[str], printed: list[str], expected: bool
) -> None:
    """A page that shows something else than what happens is found out."""
    assert matches(shown, printed) is expected


def test_steps_are_commands_with_what_they_print() -> None:
    """A long command goes on behind a backslash."""
    page = "text\n```console\n$ a \\\n  b\nx\n$ mpc-manager run\n```\n\n    $ no\n"

    assert steps_of(page) == [Step("a b", ("x",)), Step("mpc-manager run", ())]
    assert [step.goes_on for step in steps_of(page)] == [False, True]


@pytest.mark.broker
def test_the_tutorial_and_the_how_tos_do_what_they_show(tmp_path: Path) -> None:
    """One reader follows them from the first command to the last."""
    for table in (ROOT / "examples" / "insurers").glob("*.csv"):
        shutil.copy(table, tmp_path)
    try:
        with walk(tmp_path, PROGRAMS) as reader:
            for page in ("tutorial.md", "howto.md"):
                for step in steps_of((ROOT / "docs" / page).read_text()):
                    reader.take(step)
    finally:
        subprocess.run(
            [
                PROGRAMS / "mpc-manager",
                "--home",
                tmp_path / "manager",
                "broker",
                "stop",
            ],
            check=True,
            capture_output=True,
        )
