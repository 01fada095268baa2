"""Pins of a home: by its running control process, or in its place."""

from collections.abc import Callable

from participant.home.folder import Home
from participant.protocol.consent import Policy
from participant.protocol.identity import Identity
from participant.protocol.pins import known_pins
from participant.service.local import Answer, NotRunningError, Request, ask_once
from participant.statistics import registry

Password = Callable[[], bytes | None]
"""Returns what opens the key file; only asked when it has to be opened here."""


def pins_shown(identity: Identity, policy: Policy) -> list[Answer]:
    """Return everybody whose key is pinned, as it travels over the local socket."""
    return [
        {
            "principal": pin.principal,
            "key_hash": pin.key_hash.hex(),
            "origin": pin.origin.value,
        }
        for pin in known_pins(identity, policy)
    ]


async def pins_of(home: Home, password: Password) -> list[Answer]:
    """Return everybody whose key is pinned.

    Raises:
        ConfigError: the key file does not open, or the policy is malformed.
    """
    try:
        found = (await ask_once(home, {"op": "pins"})).get("pins")
    except NotRunningError:
        return pins_shown(home.key_file(password()).load(), _policy(home))
    return [pin for pin in found if isinstance(pin, dict)] if found else []  # type: ignore[union-attr]  # a list, by the socket's contract


async def change_pins(
    home: Home,
    password: Password,
    request: Request,
    change: Callable[[Identity, Policy], Identity],
) -> None:
    """Change who is held to which key.

    Args:
        home: whose pins they are.
        password: of the key file.
        request: to the control process.
        change: what it does, done here while none runs.

    Raises:
        ConfigError: it cannot be so, or the key file does not open.
    """
    try:
        await ask_once(home, request)
    except NotRunningError:
        file = home.key_file(password())
        with home.lock():
            file.save(change(file.load(), _policy(home)))


def _policy(home: Home) -> Policy:
    return home.policy(frozenset(registry.names()))
