"""Which identities there are: one in the default home itself, more beside it.

The folder itself is the place of identity 1, its sub-folders ``2``, ``3`` and so on
are those of further ones; each place is a home of its own, with its own keys, lock,
journal and socket. A folder that the user named with ``--home`` is the home meant,
whatever lies beside it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from participant.config import DEFAULT_HOME, absolute, named_home
from participant.home.folder import CARD_NAME, KEY_NAME
from shared.errors import ConfigError

FIRST = 1
"""The number of the identity that lies in the folder itself."""


@dataclass(frozen=True, slots=True)
class Known:
    """An identity as it shows itself without its key file being opened.

    ``principal``, ``role``, ``io``, ``realm`` are ``None`` where its card is missing.
    """

    number: int
    path: Path
    principal: str | None = None
    role: str | None = None
    io: str | None = None
    realm: str | None = None

    @property
    def label(self) -> str:
        """Number, name and realm, as a list of choices shows them."""
        where = f" ({self.realm})" if self.realm else ""
        return f"{self.number}: {self.principal or 'without a name'}{where}"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder for identities.

    ``root``: absolute. ``is_named``: the user said which, so it means one home.
    """

    root: Path
    is_named: bool

    def identities(self) -> tuple[Known, ...]:
        """Return who is registered here, by number."""
        numbers = {FIRST}
        if self.root.is_dir():
            numbers |= {
                int(path.name)
                for path in self.root.iterdir()
                if path.name.isascii() and path.name.isdecimal() and path.name[0] != "0"
            }
        return tuple(
            _known(number, self._home(number))
            for number in sorted(numbers)
            if (self._home(number) / KEY_NAME).exists()
        )

    def choose(self, wanted: str | None) -> Path:
        """Return the home of the identity that the user means.

        Args:
            wanted: its name or number; ``None`` if the user did not say.

        Raises:
            ConfigError: none or several fit; the hint lists all by number.
        """
        if wanted is None and self.is_named:
            return self.root
        known = self.identities()
        if wanted is None:
            if not known:
                return self.root
            if len(known) == 1:
                return known[0].path
            raise ConfigError(
                f"{len(known)} identities are registered here; {_listed(known)}",
                "choose one by its name or number: --identity NAME, or 'connect"
                " NAME' at the prompt",
            )
        found = [k for k in known if wanted in {str(k.number), k.principal}]
        if len(found) == 1:
            return found[0].path
        if found:
            raise ConfigError(
                f"{wanted} is the name of {len(found)} identities; {_listed(found)}",
                "choose one by its number",
            )
        raise ConfigError(
            f"there is no identity {wanted!r} in {self.root}",
            f"there are {_listed(known)}" if known else "register one first",
        )

    def place_for_new(self) -> Path:
        """Return where a new identity belongs.

        A registration that was interrupted has no identity yet, so that the next
        one, with the same token, finds what it began.
        """
        if self.is_named:
            return self.root
        number = FIRST
        while (self._home(number) / KEY_NAME).exists():
            number += 1
        return self._home(number)

    def number_of(self, path: Path) -> int:
        """Return the number of a home in this place."""
        return FIRST if path == self.root else int(path.name)

    def _home(self, number: int) -> Path:
        return self.root if number == FIRST else self.root / str(number)


def place_of(folder: Path | None) -> Place:
    """Return the folder that was named, else ``MPC_HOME``, else the default one."""
    named = named_home(folder)
    return Place(named or absolute(DEFAULT_HOME), is_named=named is not None)


def _listed(known: tuple[Known, ...] | list[Known]) -> str:
    return ", ".join(each.label for each in known)


def _known(number: int, path: Path) -> Known:
    """Read a card; one that is missing or unreadable leaves the number alone."""
    try:
        card = json.loads((path / CARD_NAME).read_text())
    except (OSError, ValueError):
        return Known(number, path)
    if not isinstance(card, dict):
        return Known(number, path)
    said = {
        name: value
        for name in ("principal", "role", "io", "realm")
        if isinstance(value := card.get(name), str)
    }
    return Known(number, path, **said)
