"""examples/verify_vectors.py: a second implementation agrees, and would say if not."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
SCRIPT = FOLDER.parents[1] / "examples" / "verify_vectors.py"


def verify(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verifier, far from the project."""
    command = [sys.executable, "-I", str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder of vectors that may be changed."""
    for name in ("structures", "envelopes", "refusals"):
        shutil.copy(FOLDER / f"{name}.json", tmp_path)
    return tmp_path


def test_a_second_implementation_agrees_with_every_vector() -> None:
    """Structures, envelopes, refusals."""
    done = verify()
    counts = {
        name: len(json.loads((FOLDER / f"{name}.json").read_text()))
        for name in ("structures", "envelopes", "refusals")
    }
    seen = [line.split() for line in done.stdout.splitlines()]

    assert (done.returncode, done.stderr) == (0, "")
    assert sum(int(words[-5]) for words in seen) == sum(counts.values())


def test_it_imports_nothing_of_the_project() -> None:
    """Otherwise it would agree with every mistake of ours."""
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert imported - sys.stdlib_module_names == {"cryptography", "msgpack", "nacl"}


@pytest.mark.parametrize(
    ("file", "name", "key", "value"),
    [
        ("structures", "status", "packed", "82a474797065a6737461747573a46c6f616400"),
        ("structures", "status", "packed", "c1"),
        ("envelopes", "status", "payload", "80"),
        ("envelopes", "as.req", "kem_secret", "11" * 32),
        ("refusals", "envelope: session", "expected", "unseal"),
        ("refusals", "envelope: of another realm", "expected", "ok"),
        ("refusals", "ap.req: a ticket that was spent", "expected", "admitted"),
        ("refusals", "token: as it should be", "token", "mpxe1...."),
    ],
)
def test_a_vector_that_was_altered_is_named(
    copy: Path, file: str, name: str, key: str, value: str
) -> None:
    """With what was expected and what was seen."""
    path = copy / f"{file}.json"
    vectors = json.loads(path.read_text())
    vectors[name][key] = value
    path.write_text(json.dumps(vectors))
    done = verify(str(copy))

    assert done.returncode == 1
    assert done.stderr.startswith("WRONG: ")
    assert f": {name}: expected " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("nosuch",), ("--nosuch",), ("a", "b")])
def test_what_cannot_be_read_is_no_verdict(arguments: tuple[str, ...]) -> None:
    """Nor a traceback."""
    done = verify(*arguments)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
