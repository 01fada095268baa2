"""Where settings come from, and what is shown of them."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.config import Settings, Source, duration_text, explain, load, parse_duration
from shared.settings_shown import REDACTED, print_settings, written


class Kinds(Settings):
    """One setting of each source."""

    said: str = "a"
    exported: tuple[str, ...] = ()
    kept: int = 1
    left: timedelta | None = None


def test_every_setting_says_where_it_comes_from(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the order in which they win; a flag that was not given says nothing."""
    file = tmp_path / "p.toml"
    file.write_text('kept = 2\nexported = ["file"]\nsaid = "file"\n')
    monkeypatch.setenv("MPC_EXPORTED", '["x"]')
    monkeypatch.setenv("MPC_SAID", "environment")
    flags = {"said": "b", "left": None}
    explained = explain(load(Kinds, flags, file), flags, file)
    print_settings(explained, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    print_settings(explained, as_json=False)
    table = capsys.readouterr().out

    assert [(each.source, each.where) for each in explained] == [
        (Source.OPTION, "--said"),
        (Source.ENVIRONMENT, "MPC_EXPORTED"),
        (Source.FILE, str(file)),
        (Source.DEFAULT, None),
    ]
    assert [each["value"] for each in shown] == ["b", ["x"], 2, None]
    assert "unset" in table


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("amqp://guest:guest@h:1/v", f"amqp://{REDACTED}@h:1/v"),
        ("amqps://u:p@w@i:2", f"amqps://{REDACTED}@i:2"),
        ("amqp://h:1", "amqp://h:1"),
        ("amqp://u:p/w@h:1/v", f"amqp://{REDACTED}@h:1/v"),
        ("amqp://u:p?w@h", f"amqp://{REDACTED}@h"),
        ("amqp://u:p#w@h", f"amqp://{REDACTED}@h"),
        ("amqp://u:p w@h", f"amqp://{REDACTED}@h"),
        ("amqp://u:p,x://w@h", f"amqp://{REDACTED}@h"),
        ("amqp://u:p?key=w@h", f"amqp://{REDACTED}"),
        (
            "sql://h/d?user=u&password=p&x=1",
            f"sql://h/d?user=u&password={REDACTED}&x=1",
        ),
        ("sql://h/d?Password=p#w&x=1", f"sql://h/d?Password={REDACTED}&x=1"),
        ("sql://u:p@h/d?password=q@w", f"sql://{REDACTED}"),
        (SecretStr("p"), REDACTED),
        (["amqp://u:p@h"], [f"amqp://{REDACTED}@h"]),
        ({"a": Path("/a")}, {"a": "/a"}),
        (timedelta(seconds=90), "90s"),
        (True, True),
    ],
)
def test_values_are_shown_as_files_write_them_without_secrets(
    value: object, expected: object
) -> None:
    """The output ends in tickets and logs of others."""
    assert expected == written(value)


@pytest.mark.parametrize(
    "text", ["0ms", "1ms", "500ms", "90s", "5m", "1h", "25h", "7d"]
)
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    """In the largest unit of which it is a whole number."""
    assert text == duration_text(parse_duration(text))
