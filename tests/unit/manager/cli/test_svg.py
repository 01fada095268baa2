"""Pictures in files."""

import os
import stat
from pathlib import Path

import pytest

from manager.cli import svg
from shared.errors import ConfigError


def test_a_picture_replaces_a_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    """It is readable as any file of this user."""
    path = tmp_path / "a.svg"
    path.write_text("old")
    svg.write(path, "new")

    assert [each.name for each in tmp_path.iterdir()] == ["a.svg"]
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR


def test_what_a_link_leads_to_is_replaced_and_a_pipe_is_written_to(
    tmp_path: Path,
) -> None:
    """A link stays one; so does a device, which root could replace."""
    (tmp_path / "a.svg").write_text("old")
    (tmp_path / "link").symlink_to("a.svg")
    svg.write(tmp_path / "link", "new")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    svg.write(tmp_path / "pipe", "picture")
    read = os.read(reader, 100)
    os.close(reader)

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a.svg").read_text() == "new"
    assert read == b"picture"
    assert (tmp_path / "pipe").is_fifo()


def test_a_dash_is_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else goes there."""
    svg.write(svg.STDOUT, "picture")

    assert capsys.readouterr().out == "picture"


def test_a_place_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    """With where to write instead; nothing half-written stays."""
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "missing" / "a.svg", tmp_path / "a"):
        with pytest.raises(ConfigError, match="cannot write") as caught:
            svg.write(path, "picture")

        assert caught.value.hint
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
