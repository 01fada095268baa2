"""Pins: what the owner listed counts, and nothing is replaced by chance."""

from dataclasses import replace

import pytest

from participant.protocol.consent import Policy
from participant.protocol.identity import MAX_PINS, Identity, Pin
from participant.protocol.pins import (
    KnownPin,
    PinOrigin,
    known_pins,
    read_pin,
    with_pin,
    without_pin,
)
from shared.errors import ConfigError
from shared.names import Principal, Role
from tests.participant_world import World

ANNE, BERT, CARL = (Principal(f"{name}001") for name in ("Anne", "Bert", "Carl"))
ONE, TWO = bytes([1] * 32), bytes([2] * 32)


@pytest.fixture
def identity() -> Identity:
    """A server that has seen two keys."""
    identity = World().join("MPC_server_001", Role.MPCS).identity
    return replace(identity, pins=(Pin(BERT, TWO), Pin(ANNE, ONE)))


POLICY = Policy(listed=(Pin(BERT, ONE, is_listed=True),))


def test_the_owners_word_wins(identity: Identity) -> None:
    """Over what was seen first; by name, each with who wants it."""
    named = with_pin(identity, POLICY, Pin(CARL, TWO, is_listed=True))

    assert known_pins(named, POLICY) == (
        KnownPin(ANNE, ONE, PinOrigin.FIRST_USE),
        KnownPin(BERT, ONE, PinOrigin.POLICY),
        KnownPin(CARL, TWO, PinOrigin.OWNER),
    )


def test_a_key_that_was_seen_can_be_confirmed(identity: Identity) -> None:
    """It is the owner's from then on, and there once."""
    confirmed = with_pin(identity, Policy(), Pin(ANNE, ONE, is_listed=True))
    again = with_pin(confirmed, Policy(), Pin(ANNE, ONE, is_listed=True))

    assert confirmed.pins == (Pin(BERT, TWO), Pin(ANNE, ONE, is_listed=True))
    assert again.pins == confirmed.pins


def test_another_key_is_refused_until_the_first_is_removed(identity: Identity) -> None:
    """A slip of the pen, or somebody who plays that party's part."""
    changed = Pin(ANNE, TWO, is_listed=True)
    with pytest.raises(ConfigError, match=rf"another pin \(first-use\): {ONE.hex()}"):
        with_pin(identity, Policy(), changed)
    with pytest.raises(ConfigError, match=r"another pin \(policy\)"):
        with_pin(identity, POLICY, Pin(BERT, TWO, is_listed=True))
    removed = without_pin(identity, Policy(), ANNE)

    assert removed.pins == (Pin(BERT, TWO),)
    assert with_pin(removed, Policy(), changed).pins[-1] == changed


def test_what_cannot_be_removed_is_named(identity: Identity) -> None:
    """No pin, or one of the policy's file."""
    with pytest.raises(ConfigError, match="no key is pinned for 'Carl001'"):
        without_pin(identity, POLICY, CARL)
    with pytest.raises(ConfigError, match=r"listed in policy\.toml"):
        without_pin(identity, POLICY, BERT)


def test_there_is_an_end_of_pins(identity: Identity) -> None:
    """One that is there already can still be confirmed."""
    pins = tuple(Pin(Principal(f"Gone{n:04d}"), ONE) for n in range(MAX_PINS))
    full = replace(identity, pins=pins)
    with pytest.raises(ConfigError, match="no more can be"):
        with_pin(full, Policy(), Pin(ANNE, ONE, is_listed=True))
    confirmed = with_pin(
        full, Policy(), Pin(Principal("Gone0007"), ONE, is_listed=True)
    )

    assert len(confirmed.pins) == MAX_PINS


@pytest.mark.parametrize(
    ("name", "text"),
    [("Anne001", "00" * 31), ("Anne001", "zz" * 32), ("anne", "00" * 32), ("", "")],
)
def test_what_is_no_pin_is_refused(name: str, text: str) -> None:
    """Before anything is held to it."""
    with pytest.raises(ConfigError, match="not a principal with the hash") as caught:
        read_pin(name, text)

    assert caught.value.hint
