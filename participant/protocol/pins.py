"""Pins: the identity keys that this participant holds others to.

The owner lists keys, by hand in ``policy.toml`` or by ``mpc-participant pins``; under
the rule ``first-use`` every other key is pinned where it is first seen. Source:
docs/protocol.md, section "Pins".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, unique

from participant.protocol.consent import Policy
from participant.protocol.identity import MAX_PINS, Identity, Pin
from shared.crypto.derivation import equal
from shared.errors import ConfigError
from shared.names import Principal, is_principal

HASH_BYTES = 32


@unique
class PinOrigin(StrEnum):
    """Who wants that a principal has this key."""

    POLICY = "policy"
    """The owner, in ``policy.toml``."""
    OWNER = "owner"
    """The owner, by command."""
    FIRST_USE = "first-use"
    """Nobody in particular: it is the first that was seen."""


@dataclass(frozen=True, slots=True)
class KnownPin:
    """A pin, and where it is from. ``key_hash``: SHA-256 of the identity key."""

    principal: Principal
    key_hash: bytes
    origin: PinOrigin


def read_pin(name: str, text: str) -> Pin:
    """Return the pin that a person wrote.

    Raises:
        ConfigError: no principal's name, or not 64 hexadecimal digits.
    """
    try:
        key_hash = bytes.fromhex(text)
    except ValueError:
        key_hash = b""
    if not is_principal(name) or len(key_hash) != HASH_BYTES:
        raise ConfigError(
            f"{name!r} is not a principal with the hash of its key",
            "write the 64 hexadecimal digits that 'mpc-participant status' shows"
            " at that party",
        )
    return Pin(Principal(name), key_hash, is_listed=True)


def known_pins(identity: Identity, policy: Policy) -> tuple[KnownPin, ...]:
    """Return everybody whose key is pinned, by name."""
    found: dict[Principal, KnownPin] = {}
    for pin in identity.pins:
        origin = PinOrigin.OWNER if pin.is_listed else PinOrigin.FIRST_USE
        found[pin.principal] = KnownPin(pin.principal, pin.key_hash, origin)
    for pin in policy.listed:
        found[pin.principal] = KnownPin(pin.principal, pin.key_hash, PinOrigin.POLICY)
    return tuple(found[name] for name in sorted(found))


def with_pin(identity: Identity, policy: Policy, pin: Pin) -> Identity:
    """Return the identity with a key that its owner listed.

    Raises:
        ConfigError: another key is pinned under the name, or there are too many.
    """
    known = _known(identity, policy).get(pin.principal)
    if known is not None and not equal(known.key_hash, pin.key_hash):
        raise ConfigError(
            f"{pin.principal} has another pin ({known.origin}): {known.key_hash.hex()}",
            "a name keeps its key: ask that party by another way which one is right;"
            f" to change the pin, first: mpc-participant pins remove {pin.principal}",
        )
    others = [each for each in identity.pins if each.principal != pin.principal]
    if len(others) >= MAX_PINS:
        raise ConfigError(
            f"{MAX_PINS} keys are pinned, and no more can be",
            "remove those of parties that are gone: mpc-participant pins remove NAME",
        )
    return replace(identity, pins=(*others, pin))


def without_pin(identity: Identity, policy: Policy, name: str) -> Identity:
    """Return the identity without a pin.

    Raises:
        ConfigError: there is none, or the policy's file lists it.
    """
    known = _known(identity, policy).get(Principal(name))
    if known is None:
        raise ConfigError(
            f"no key is pinned for {name!r}",
            "see which there are: mpc-participant pins list",
        )
    if known.origin is PinOrigin.POLICY:
        raise ConfigError(
            f"the key of {name} is listed in policy.toml",
            "remove its line under [keys] there",
        )
    kept = tuple(pin for pin in identity.pins if pin.principal != name)
    return replace(identity, pins=kept)


def _known(identity: Identity, policy: Policy) -> Mapping[Principal, KnownPin]:
    return {pin.principal: pin for pin in known_pins(identity, policy)}
