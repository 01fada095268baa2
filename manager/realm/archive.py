"""The file that holds a backup: a tar of private files, and a list of them.

The list comes first: which form it is, of which realm and release, and each file's
size and hash. Nothing is taken out of a backup but what ``NAMES`` and the list name.
"""

import hashlib
import os
import tarfile
from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from manager.realm.private_files import check_private
from shared.errors import ConfigError

FORMAT: Final = 1
LIST: Final = "backup.json"
MAX_LIST_BYTES: Final = 64 * 1024
NAMES: Final = (
    "manager.db",
    "manager.toml",
    "realm_root.key",
    "broker/authority.pem",
    "broker/authority.key",
    "broker/node.pem",
    "broker/node.key",
    "broker/credentials.json",
    "broker/node.json",
    "manager.key",
)
"""Every file that a backup may hold, by its name in the home. The keys are last: a
home without them is no realm yet."""
_CHUNK_BYTES: Final = 1 << 20
_MODE: Final = 0o600
_NOT_ONE: Final = "name a file that 'mpc-manager backup' made, whole as it was made"


class Entry(BaseModel):
    """One file of a backup; ``sha256`` in hexadecimal digits."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int
    sha256: str


class Contents(BaseModel):
    """A backup's list.

    Attributes:
        format: of the file.
        release: of the program that made it.
        realm: its name.
        created: when.
        files: by name.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    format: int
    release: str
    realm: str
    created: AwareDatetime
    files: Mapping[str, Entry]


def write_archive(
    path: Path, realm: str, release: str, created: datetime, files: Mapping[str, Path]
) -> Contents:
    """Write a backup of mode 0600 and wait for the disk.

    Args:
        path: of the backup; there must be nothing yet.
        realm: its name.
        release: of this program.
        created: when; an aware time.
        files: what goes into it, by name.

    Raises:
        ConfigError: there is a file of that name, or it cannot be written; then
            there is none.
    """
    contents = Contents(
        format=FORMAT,
        release=release,
        realm=realm,
        created=created,
        files={name: _entry_of(source) for name, source in files.items()},
    )
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        try:
            with os.fdopen(handle, "wb") as file:
                with tarfile.open(fileobj=file, mode="w") as archive:
                    listed = contents.model_dump_json(indent=2).encode()
                    archive.addfile(_member(LIST, len(listed)), BytesIO(listed))
                    for name, source in files.items():
                        member = _member(name, contents.files[name].size)
                        with source.open("rb") as stream:
                            archive.addfile(member, stream)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink()
            raise
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already", "name another file") from error
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", "name a folder that has room"
        ) from error
    return contents


def read_archive(path: Path, folder: Path) -> Contents:
    """Take a backup's files out into a folder, and check each.

    Args:
        path: of the backup.
        folder: empty; a subfolder is made where a name has one.

    Raises:
        ConfigError: it is no backup, is damaged, is of a later form or may be read
            by others; what is in the folder then is worth nothing.
    """
    check_private(path)
    try:
        with tarfile.open(path, mode="r:") as archive:
            contents = _contents(archive)
            for name, entry in contents.files.items():
                _take(archive, name, entry, folder / name)
    except (tarfile.TarError, EOFError) as error:
        raise ConfigError(f"{path} is no backup: {error}", _NOT_ONE) from error
    except OSError as error:
        raise ConfigError(
            f"cannot restore {path}: {error.strerror}", "see that the disk has room"
        ) from error
    return contents


def _contents(archive: tarfile.TarFile) -> Contents:
    first = archive.next()
    stream = None
    if first is not None and first.name == LIST and first.size <= MAX_LIST_BYTES:
        stream = archive.extractfile(first)
    try:
        contents = Contents.model_validate_json(stream.read() if stream else b"")
    except ValidationError as error:
        raise ConfigError("the file is no backup of a manager", _NOT_ONE) from error
    if contents.format != FORMAT:
        raise ConfigError(
            f"the backup has form {contents.format}, this release knows {FORMAT}",
            f"restore it with release {contents.release}, which made it",
        )
    unknown = set(contents.files) - set(NAMES)
    if unknown:
        raise ConfigError(f"the backup holds a foreign file {min(unknown)!r}", _NOT_ONE)
    return contents


def _take(archive: tarfile.TarFile, name: str, entry: Entry, target: Path) -> None:
    member = archive.next()
    if member is None or not member.isreg() or member.name != name:
        raise ConfigError(f"the backup lacks {name}", _NOT_ONE)
    stream = archive.extractfile(member)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.touch(mode=_MODE)
    with target.open("wb") as file:
        digest, size = _hashed(stream, file) if stream else ("", 0)
        os.fsync(file.fileno())
    if (size, digest) != (entry.size, entry.sha256):
        raise ConfigError(f"{name} is damaged in the backup", _NOT_ONE)


def _entry_of(source: Path) -> Entry:
    with source.open("rb") as stream:
        digest, size = _hashed(stream, None)
    return Entry(size=size, sha256=digest)


def _hashed(stream: IO[bytes], copy: IO[bytes] | None) -> tuple[str, int]:
    """Return the hash and length of what is left in a stream, and copy it."""
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if copy is not None:
            copy.write(chunk)
    return digest.hexdigest(), size


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, _MODE
    return member
