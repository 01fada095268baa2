"""The same targets without atheris: what is kept, and some thousand inputs more."""

import itertools
from pathlib import Path

import pytest

from tests.fuzz.targets import KEY_FILE, TARGETS, FindingError, seeds
from tests.simulation.dice import Dice

CORPUS = Path(__file__).parent / "corpus"
INPUTS = 1500
"""Of each target."""


def mutated(dice: Dice, known: list[bytes]) -> bytes:
    """Return an input that is almost one that is known."""
    data = bytearray(dice.pick(known))
    for _ in range(1 + dice.below(4)):
        at = dice.below(len(data) + 1)
        match dice.below(5):
            case 0:
                data[at : at + 1] = dice.draw(1)
            case 1:
                data[at:at] = dice.draw(1 + dice.below(8))
            case 2:
                del data[at : at + 1 + dice.below(8)]
            case 3:
                data[at:] = dice.pick(known)[at:]
            case _:
                data[at : at + 1] = bytes((dice.pick(b"\x00\x7f\x80\xc0\xc1\xdf\xff"),))
    return bytes(data)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_foreign_bytes_are_read_or_refused(target: str) -> None:
    """Nothing else, whatever they are; always the same inputs."""
    kept = [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]
    known = [each for each in (*seeds(target), *kept) if each]
    dice = Dice(f"fuzz {target}")
    changed = (mutated(dice, known) for _ in range(INPUTS))

    assert kept
    for data in itertools.chain([b""], known, changed):
        TARGETS[target](data)


def test_a_finding_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes what it must not."""
    monkeypatch.setattr("tests.fuzz.targets.KEY_FILE", b"another")
    with pytest.raises(FindingError, match="an altered key file was opened"):
        TARGETS["keyfile"](KEY_FILE)
