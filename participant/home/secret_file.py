"""Secret files: written whole or not at all, readable by their owner only."""

import os
import secrets
import stat
from pathlib import Path

from shared.errors import ConfigError

FILE_MODE = 0o600
FOLDER_MODE = 0o700
MAX_BYTES = 16 << 20


def make_folder(path: Path) -> None:
    """Make a folder for its owner only, with its parents.

    Raises:
        ConfigError: it cannot be made, or others can look into it.
    """
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(
            f"cannot use the folder {path}: {error.strerror}",
            "choose another one with --home",
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"others can look into {path}", f"run: chmod go= '{path}'")


def write(path: Path, data: bytes) -> None:
    """Replace a file's content; after a crash it is the old one or the new one.

    Raises:
        ConfigError: the folder or the disk does not allow it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}",
            "see whether the disk is full and who owns the folder",
        ) from error


def read(path: Path) -> bytes:
    """Return the content of a secret file.

    Raises:
        ConfigError: it is not there or too long, or others could read it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", "see who owns it and its mode"
        ) from error
    with os.fdopen(handle, "rb") as stream:
        mode = os.fstat(stream.fileno()).st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"others can read the secrets in {path}",
                f"run: chmod 600 '{path}'; if others did read it, register anew",
            )
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is too long to be ours", "restore it from a backup")
    return data


def remove(path: Path) -> None:
    """Remove a file for good; harmless where there is none."""
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
