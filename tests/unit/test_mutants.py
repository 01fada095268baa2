"""docs/mutants.md lists every check that is in the code, with tests that there are."""

import re
from itertools import chain
from pathlib import Path

import pytest

from tests.mutants.checks import AREAS, ROOT, checks_in
from tests.mutants.page import EQUIVALENT, cell, key_of, tables

PATHS = tuple(chain.from_iterable(AREAS.values()))
TABLES = tables()
TESTS = frozenset(
    re.findall(
        r"^(?:async )?def (test_\w+)",
        "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py")),
        re.MULTILINE,
    )
)


def rows(path: str) -> dict[str, str]:
    """Return what fell, by check, for a file."""
    lines = [line for line in TABLES[path].splitlines() if line.startswith("| `")]
    return dict(line.removesuffix(" |")[2:].split(" | ", 1) for line in lines)


@pytest.mark.parametrize("path", PATHS)
def test_the_page_lists_the_checks_that_are_in_the_code(path: str) -> None:
    """Whoever adds or changes one: make mutants."""
    assert list(rows(path)) == [cell(check) for check in checks_in(path)]


@pytest.mark.parametrize("path", PATHS)
def test_every_check_is_noticed_by_tests_that_there_are(path: str) -> None:
    """Or somebody said why nothing can notice that it is missing."""
    for check, fell in rows(path).items():
        named = set(re.findall(r"`(test_\w+)`", fell))

        assert named or fell.startswith("nothing: "), check
        assert "NOT NOTICED" not in fell, check
        assert named <= TESTS, check


def test_every_excuse_is_for_a_check_that_there_is() -> None:
    """One that is gone needs none."""
    known = {key_of(check) for path in PATHS for check in checks_in(path)}

    assert set(EQUIVALENT) <= known


def test_what_is_removed_is_one_question_at_a_time(tmp_path: Path) -> None:
    """Of each kind of condition."""
    source = """
def f(a, b, c):
    if a or (b and c):
        raise ValueError
    if not a <= b < c:
        raise ValueError
    if (a, b) != (b, c):
        raise ValueError
    check_this(a)
    return a and b
"""
    (tmp_path / "sample.py").write_text(source)
    checks = checks_in(str(tmp_path / "sample.py"))

    assert [check.name for check in checks] == [
        "f: a",
        "f: b and c",
        "f: not a <= b",
        "f: not b < c",
        "f: a != b",
        "f: b != c",
        "f: check_this(a)",
        "f: a (2)",
        "f: b",
    ]
    assert "if False or (b and c)" in checks[0].source
    assert "if a or False" in checks[1].source
    assert "if not (b < c and True)" in checks[2].source
    assert "if (b,) != (c,)" in checks[4].source
    assert "check_this" not in checks[6].source
    assert "return True and b" in checks[7].source
