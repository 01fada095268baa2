"""A job's folder: complete files, private, and gone when they are discarded."""

import json
import os
import stat
from pathlib import Path

import pytest

from participant.dataplane.journal import Journal
from shared.names import JobId, Principal

JOB = JobId(b"j" * 16)
SERVER = Principal("MPC_server_001")


def modes(folder: Path) -> set[int]:
    """Return the modes of all files below a folder."""
    return {
        stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_everything_comes_back_in_a_new_process(tmp_path: Path) -> None:
    """Shares, spent tickets and the result are read as they were written."""
    before = Journal(tmp_path, JOB)
    before.write_share(b"share")
    before.write_server_share(SERVER, b"sealed")
    before.spend(b"a" * 16)
    before.spend(b"b" * 16)
    before.write_result({"mean": 1.5})
    after = Journal(tmp_path, JOB)

    assert after.read_share() == b"share"
    assert after.read_server_share(SERVER) == b"sealed"
    assert after.spent() == {b"a" * 16, b"b" * 16}
    assert after.has_result()
    assert json.loads(after.result_path.read_text()) == {"mean": 1.5}
    assert modes(tmp_path) == {0o600}
    assert stat.S_IMODE((tmp_path / JOB.hex()).stat().st_mode) == 0o700


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    """Reading makes no folder."""
    journal = Journal(tmp_path, JOB)

    assert journal.read_share() is None
    assert journal.read_server_share(SERVER) is None
    assert journal.spent() == frozenset()
    assert not journal.has_result()
    assert not list(tmp_path.iterdir())


def test_torn_last_ticket_is_ignored(tmp_path: Path) -> None:
    """A crash in the middle of an append loses that ticket alone."""
    journal = Journal(tmp_path, JOB)
    journal.spend(b"a" * 16)
    with (tmp_path / JOB.hex() / "spent").open("ab") as stream:
        stream.write(b"b" * 7)

    assert journal.spent() == {b"a" * 16}


def test_leftover_of_a_crashed_write_does_no_harm(tmp_path: Path) -> None:
    """The file beside is replaced, the real one was never half there."""
    journal = Journal(tmp_path, JOB)
    journal.write_share(b"old")
    (tmp_path / JOB.hex() / ".share.new").write_bytes(b"half")
    journal.write_share(b"new")

    assert journal.read_share() == b"new"


def test_shares_can_go_before_the_rest(tmp_path: Path) -> None:
    """One that is of no use, or all when the result is written."""
    journal = Journal(tmp_path, JOB)
    journal.write_server_share(SERVER, b"x")
    journal.write_server_share(Principal("MPC_server_002"), b"y")
    journal.drop_server_share(SERVER)
    journal.drop_server_share(SERVER)

    assert journal.read_server_share(SERVER) is None

    journal.drop_server_shares()

    assert journal.read_server_share(Principal("MPC_server_002")) is None


def test_nothing_is_written_after_discard(tmp_path: Path) -> None:
    """A thread that was on its way does not bring a folder back."""
    journal = Journal(tmp_path, JOB)
    journal.write_share(b"x")
    journal.discard()
    journal.write_share(b"y")
    journal.spend(b"a" * 16)
    journal.discard()

    assert not list(tmp_path.iterdir())


def test_result_that_json_does_not_have_is_a_bug(tmp_path: Path) -> None:
    """No NaN in a file that other programs read."""
    with pytest.raises(ValueError, match="JSON"):
        Journal(tmp_path, JOB).write_result({"mean": float("nan")})


@pytest.fixture
def synchronised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths that were synchronised to disk, as they are."""
    paths: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        paths.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_every_new_name_is_on_disk(tmp_path: Path, synchronised: list[str]) -> None:
    """A file's own bytes are lost if its name, or its folder's, is."""
    journal = Journal(tmp_path, JOB)
    folder = tmp_path / JOB.hex()
    journal.write_server_share(SERVER, b"sealed")
    first = list(synchronised)
    journal.write_server_share(Principal("MPC_server_002"), b"sealed")
    journal.spend(b"a" * 16)
    spent = synchronised[-2:]
    journal.spend(b"b" * 16)

    assert first == [
        str(path)
        for path in (
            tmp_path,
            folder,
            folder / "shares" / f".{SERVER}.new",
            folder / "shares",
        )
    ]
    assert len(synchronised) == len(first) + 2 + 2 + 1
    assert spent == [str(folder / "spent"), str(folder)]
