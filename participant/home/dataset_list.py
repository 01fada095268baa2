"""Which files a source offers under which names: ``datasets.toml`` in the home."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from participant.home import secret_file
from shared.errors import ConfigError
from shared.names import is_label
from shared.suggestion import did_you_mean

MAX_DATASETS = 64
"""As many as a status message may name."""


def load(path: Path) -> dict[str, Path]:
    """Return the files by dataset name.

    Raises:
        ConfigError: the list cannot be read or is malformed.
    """
    if not path.exists():
        return {}
    try:
        read = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", "see who owns it and its mode"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not TOML: {error}", 'write one dataset a line: name = "path"'
        ) from error
    found: dict[str, Path] = {}
    for name, value in read.items():
        if not is_label(name) or not isinstance(value, str):
            raise ConfigError(
                f"{path}: {name!r} is not a dataset",
                'write one dataset a line: name = "path"',
            )
        found[name] = Path(value)
    return found


def add(path: Path, name: str, file: Path) -> None:
    """Offer a file under a name; a dataset of that name is replaced.

    Raises:
        ConfigError: the name cannot be a dataset's, or there are too many.
    """
    if not is_label(name):
        raise ConfigError(
            f"{name!r} cannot name a dataset",
            "use 1 to 64 letters, digits, '_', '.' or '-', a letter or '_' first",
        )
    datasets = {**load(path), name: file.expanduser().absolute()}
    if len(datasets) > MAX_DATASETS:
        raise ConfigError(
            f"{len(datasets)} datasets; at most {MAX_DATASETS} can be offered",
            "remove one with: mpc-participant dataset remove NAME",
        )
    _save(path, datasets)


def remove(path: Path, name: str) -> None:
    """Offer a dataset no more; its file stays.

    Raises:
        ConfigError: there is none of that name.
    """
    datasets = load(path)
    if datasets.pop(name, None) is None:
        raise ConfigError(
            f"there is no dataset {name!r}",
            did_you_mean(name, datasets)
            or "see which there are: mpc-participant dataset list",
        )
    _save(path, datasets)


def _save(path: Path, datasets: Mapping[str, Path]) -> None:
    # A label is a bare or quoted key; JSON's strings are TOML's basic strings.
    lines = [
        f"{json.dumps(name)} = {json.dumps(str(file), ensure_ascii=False)}\n"
        for name, file in sorted(datasets.items())
    ]
    secret_file.write(path, "".join(lines).encode())
