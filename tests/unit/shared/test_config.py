"""Where settings come from and what is refused."""

from datetime import timedelta
from pathlib import Path

import pytest

from shared.config import Duration, Settings, load, parse_duration
from shared.errors import ConfigError


class Sample(Settings):
    """Settings of a test."""

    sample_name: str = "default"
    sample_wait: Duration = timedelta(seconds=5)
    sample_count: int = 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("5 m", timedelta(minutes=5)),
        (" 1h ", timedelta(hours=1)),
        ("7d", timedelta(days=7)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, expected: timedelta) -> None:
    """One notation for flags, environment and files."""
    assert expected == parse_duration(text)


@pytest.mark.parametrize("text", ["", "90", "-1s", "1.5h", "h", "1w", "9999999999s"])
def test_a_duration_without_unit_is_refused(text: str) -> None:
    """A bare number would be seconds to one reader and minutes to another."""
    with pytest.raises(ConfigError):
        parse_duration(text)


def test_a_flag_wins_over_environment_file_and_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flag > environment > file > default, one after the other."""
    file = tmp_path / "sample.toml"
    found = [load(Sample, {}, file).sample_name]
    file.write_text('sample_name = "file"\n')
    found.append(load(Sample, {"sample_name": None}, file).sample_name)
    monkeypatch.setenv("MPC_SAMPLE_NAME", "environment")
    found.append(load(Sample, {}, file).sample_name)
    found.append(load(Sample, {"sample_name": "flag"}, file).sample_name)

    assert found == ["default", "file", "environment", "flag"]


def test_an_empty_variable_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """``MPC_X= command`` is how a shell user takes a variable away."""
    monkeypatch.setenv("MPC_SAMPLE_COUNT", "")

    assert load(Sample, {}).sample_count == 1


def test_values_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has texts only."""
    monkeypatch.setenv("MPC_SAMPLE_COUNT", "7")
    file = tmp_path / "sample.toml"
    file.write_text('sample_wait = "2m"\n')
    settings = load(Sample, {}, file)

    assert (settings.sample_count, settings.sample_wait) == (7, timedelta(minutes=2))


def test_an_unknown_setting_is_refused_with_the_near_one(tmp_path: Path) -> None:
    """A slip of the pen must not become a default in silence."""
    file = tmp_path / "sample.toml"
    file.write_text('sample_nam = "x"\n')
    with pytest.raises(ConfigError, match="unknown setting 'sample_nam'") as caught:
        load(Sample, {}, file)

    assert caught.value.hint == "did you mean 'sample_name'?"


def test_a_setting_like_no_other_is_refused_with_the_list(tmp_path: Path) -> None:
    """Then all of them are named."""
    file = tmp_path / "sample.toml"
    file.write_text("zzz = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(Sample, {}, file)

    assert caught.value.hint == (
        "the settings are sample_count, sample_name, sample_wait"
    )


def test_a_setting_that_has_no_place_in_the_file_is_refused(tmp_path: Path) -> None:
    """The home cannot be named by the file that lies in it."""
    file = tmp_path / "sample.toml"
    file.write_text('sample_name = "x"\n')
    with pytest.raises(ConfigError, match="unknown setting"):
        load(Sample, {}, file, frozenset({"sample_name"}))


@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_a_wrong_value_is_refused_with_its_source(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user must know where to look; the value itself is not shown."""
    file = tmp_path / "sample.toml"
    flags: dict[str, object] = {}
    if source == "flag":
        flags["sample_count"] = "secret"
    elif source == "environment":
        monkeypatch.setenv("MPC_SAMPLE_COUNT", "secret")
    else:
        file.write_text('sample_count = "secret"\n')
    with pytest.raises(ConfigError, match=r"^sample_count: .*integer") as caught:
        load(Sample, flags, file)
    named = {
        "flag": "(from --sample-count)",
        "environment": "(from MPC_SAMPLE_COUNT)",
        "file": f"(from {file})",
    }

    assert str(caught.value).endswith(named[source])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ['"90"', "90", "true"])
def test_a_duration_in_a_file_needs_its_unit(value: str, tmp_path: Path) -> None:
    """The same rule as for ``parse_duration``."""
    file = tmp_path / "sample.toml"
    file.write_text(f"sample_wait = {value}\n")
    with pytest.raises(ConfigError, match=r"^sample_wait: .*duration"):
        load(Sample, {}, file)


@pytest.mark.parametrize("content", [b"a = = 1", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_refused(content: bytes, tmp_path: Path) -> None:
    """Named by its path."""
    file = tmp_path / "sample.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"sample\.toml is not TOML"):
        load(Sample, {}, file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A folder in its place, for instance."""
    with pytest.raises(ConfigError, match="cannot read"):
        load(Sample, {}, tmp_path)
