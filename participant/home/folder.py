"""One identity's folder: its keys, rules, datasets, journal and results.

One home is one identity, and one control process at a time works in it.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from participant.home import dataset_list, policy, secret_file
from participant.home.identity_file import KeyFile, needs_password
from participant.home.journal import Journal
from participant.protocol.consent import Policy
from participant.protocol.identity import Identity
from shared.errors import ConfigError

KEY_NAME = "identity.key"
CARD_NAME = "identity.json"


class BusyError(ConfigError):
    """Another process works in the home."""


class Home:
    """A participant's folder.

    Args:
        path: the folder; it is made if it is not there.

    Raises:
        ConfigError: it cannot be made, or others can look into it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        for folder in (self.path, self.jobs, self.data, self.results):
            secret_file.make_folder(folder)

    @property
    def key_path(self) -> Path:
        """The identity's key file."""
        return self.path / KEY_NAME

    @property
    def card_path(self) -> Path:
        """Who lives here, readable while the key file is sealed."""
        return self.path / CARD_NAME

    @property
    def enrolment_path(self) -> Path:
        """The key file of a registration that is not complete."""
        return self.path / "enrolment.key"

    @property
    def settings_path(self) -> Path:
        """The settings of this participant."""
        return self.path / "participant.toml"

    @property
    def datasets_path(self) -> Path:
        """The list of datasets."""
        return self.path / "datasets.toml"

    @property
    def policy_path(self) -> Path:
        """The owner's rules."""
        return self.path / "policy.toml"

    @property
    def jobs(self) -> Path:
        """The journal's folder."""
        return self.path / "jobs"

    @property
    def data(self) -> Path:
        """The data process's folder: sealed shares and spent tickets."""
        return self.path / "data"

    @property
    def results(self) -> Path:
        """Where results lie."""
        return self.path / "results"

    @property
    def log_path(self) -> Path:
        """Where a control process in the background logs."""
        return self.path / "control.log"

    @property
    def is_registered(self) -> bool:
        """Whether there is an identity."""
        return self.key_path.exists()

    def check_registered(self) -> None:
        """Check that there is an identity.

        Raises:
            ConfigError: there is none.
        """
        if not self.is_registered:
            raise ConfigError(
                f"no information found in {self.path}: nobody is registered there",
                "get a token from the operator, then: mpc-participant register",
            )

    @property
    def needs_password(self) -> bool:
        """Whether the key file is sealed under a password."""
        path = self.key_path if self.is_registered else self.enrolment_path
        return path.exists() and needs_password(path)

    def key_file(self, password: bytes | None) -> KeyFile:
        """Return the identity's key file."""
        return KeyFile(self.key_path, password)

    def enrolment_file(self, password: bytes | None) -> KeyFile:
        """Return the key file of a registration under way."""
        return KeyFile(self.enrolment_path, password)

    def write_card(self, identity: Identity) -> None:
        """Write down whose home this is; nothing of it is secret.

        Raises:
            ConfigError: it cannot be written.
        """
        card = {
            "principal": identity.principal,
            "role": identity.role.value,
            "io": identity.io.value if identity.io else None,
            "realm": identity.realm.name,
        }
        secret_file.write(self.card_path, f"{json.dumps(card)}\n".encode())

    def journal(self, identity: Identity) -> Journal:
        """Return the journal, which this identity's key opens."""
        return Journal(self.jobs, identity.journal_key)

    def datasets(self) -> dict[str, Path]:
        """Return the files by dataset name.

        Raises:
            ConfigError: the list is malformed.
        """
        return dataset_list.load(self.datasets_path)

    def policy(self, statistics: frozenset[str]) -> Policy:
        """Return the owner's rules.

        Raises:
            ConfigError: they are malformed.
        """
        return policy.load(self.policy_path, statistics)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home; the lock ends with the process, however it ends.

        Raises:
            BusyError: another process holds it.
        """
        with (self.path / "lock").open("ab") as stream:
            _lock(stream, self.path)
            yield


def _lock(stream: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise BusyError(
            f"another process works in {path}",
            "commands talk to it by themselves; to stop it, end that"
            " 'mpc-participant run'",
        ) from error
