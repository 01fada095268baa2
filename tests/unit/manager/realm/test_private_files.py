"""A file is never open to others, not even while it is made."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from manager.realm.private_files import move_private


@pytest.fixture(autouse=True)
def _careless() -> Iterator[None]:
    """Let every new file be open to all, unless whoever makes it says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_file_that_is_moved_is_private_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opened it in between would read on."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"secret")
    modes: list[int] = []

    def copy(file: IO[bytes], to: IO[bytes]) -> None:
        modes.append(stat.S_IMODE(target.stat().st_mode))
        to.write(file.read())

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    move_private(source, target)

    assert modes == [0o600]
    assert target.read_bytes() == b"secret"
    assert not source.exists()


def test_a_move_replaces_nothing(tmp_path: Path) -> None:
    """Neither a file that was there, nor by half of another one."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        move_private(source, target)

    assert (source.read_bytes(), target.read_bytes()) == (b"new", b"old")


def test_a_move_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """The next attempt finds the place free."""
    with pytest.raises(OSError, match="none"):
        move_private(tmp_path / "none", tmp_path / "target")

    assert not (tmp_path / "target").exists()
