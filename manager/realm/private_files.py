"""Files that only their owner may read: the home, keys, the lock."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shared.errors import ConfigError

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class HomeBusyError(ConfigError):
    """Another process holds the home's lock; try again when it has ended."""


def make_home(home: Path) -> None:
    """Make the manager's folder, for its owner only.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"cannot make {home}: {error.strerror}", "name another folder with --home"
        ) from error


def check_private(path: Path) -> None:
    """Check that nobody else may read a file or folder.

    Raises:
        ConfigError: group or others may, or it is not there.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", "make a realm: mpc-manager init"
        ) from error
    if mode & _OTHERS:
        wanted = "700" if stat.S_ISDIR(mode) else "600"
        raise ConfigError(f"others may read {path}", f"chmod {wanted} {path}")


def read_secret(path: Path) -> bytes:
    """Return what a file holds that only its owner may read.

    Raises:
        ConfigError: it is missing or others may read it.
    """
    check_private(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", "see that the file is yours"
        ) from error


def write_secret(path: Path, data: bytes) -> None:
    """Write a file of mode 0600, all of it or nothing, and wait for the disk.

    Raises:
        ConfigError: it cannot be written; what was there is unchanged.
    """
    try:
        # mkstemp makes it 0600.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", "free the space or the folder"
        ) from error


def move_private(source: Path, target: Path) -> None:
    """Move a file, also to another file system, where its owner alone may read it.

    Args:
        source: is gone afterwards.
        target: there must be nothing yet.

    Raises:
        OSError: it cannot be moved; ``source`` is there, ``target`` is not, unless
            it was there before.
    """
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as copy, source.open("rb") as file:
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())
    except BaseException:
        target.unlink()
        raise
    source.unlink()


@contextmanager
def locked(path: Path, where: str = "in this home") -> Iterator[None]:
    """Hold a lock file; only one process can.

    Args:
        path: of the file, which is made if it is not there.
        where: another manager runs, if one does.

    Raises:
        HomeBusyError: another process holds it.
        ConfigError: the file cannot be made.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"cannot lock {path}: {error.strerror}", "see that its folder is yours"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HomeBusyError(
                f"a manager runs already {where}",
                "stop it first, or name another home with --home",
            ) from error
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Say whether a process holds a lock file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
