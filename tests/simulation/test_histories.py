"""Hundreds of seeded histories of a whole realm; each must end as it should.

A failure names its seed: ``SIMULATION_SEED=17`` runs that history alone, and
``SIMULATION_SEEDS=5000`` so many, 40 unless told.
"""

import asyncio
import base64
import logging
import os
from collections import Counter

import pytest

from shared.errors import FailureCode
from shared.messages import Outcome
from tests.simulation.history import WEIGHTS, History
from tests.simulation.invariants import violations
from tests.simulation.template import PASSWORD, template

SEED = os.environ.get("SIMULATION_SEED")
COUNT = int(os.environ.get("SIMULATION_SEEDS", "40"))
SEEDS = [int(SEED)] if SEED else list(range(COUNT))
LOOKED_AT = 3
"""Histories whose logs are searched."""


def lived(seed: int) -> History:
    """Return a history that is over."""
    history = History(seed)
    asyncio.run(history.run())
    return history


@pytest.mark.parametrize("seed", SEEDS)
def test_every_history_ends_well(seed: int) -> None:
    """Whatever comes twice, late, in another order, or while somebody dies."""
    history = lived(seed)

    assert not violations(history), f"replay it with SIMULATION_SEED={seed}"


def test_a_seed_has_one_history() -> None:
    """Without that a failure could not be looked at again."""
    first, second = lived(3), lived(3)

    assert first.trace == second.trace
    assert first.realm.sent_types() == second.realm.sent_types()


def test_histories_are_not_all_alike() -> None:
    """Ends of every kind occur, with crashes, deaths and more than one roster."""
    outcomes: Counter[Outcome | None] = Counter()
    codes: Counter[FailureCode | None] = Counter()
    epochs: Counter[int] = Counter()
    acts: set[str] = set()
    for seed in range(12):
        history = lived(seed)
        acts |= {line.rsplit(" ", 2)[0] for line in history.trace}
        for state in history.realm.states():
            outcomes[state.outcome] += 1
            codes[state.code] += 1
            epochs[state.epoch] += 1

    assert acts == set(WEIGHTS)
    assert outcomes[Outcome.DONE] >= 5
    assert codes[FailureCode.REFUSED] > 0
    assert codes[FailureCode.NO_ANSWER] > 0
    assert codes[FailureCode.CANCELLED] > 0
    assert epochs[2] > 0


def test_no_secret_is_in_any_log(caplog: pytest.LogCaptureFixture) -> None:
    """Not as text, as bytes, in hex or in base64, at the most talkative level."""
    caplog.set_level(logging.DEBUG)
    secrets: set[bytes] = {PASSWORD.encode(), *template().secrets}
    for seed in range(LOOKED_AT):
        secrets |= lived(seed).secrets()
    lines = [text(record) for record in caplog.records]
    found = [
        (form, line)
        for secret in secrets
        for form in forms(secret)
        for line in lines
        if form in line
    ]

    assert len(secrets) > 100
    assert len(lines) > 100
    assert not found


def text(record: logging.LogRecord) -> str:
    """Return everything that a record holds, the traceback too."""
    return f"{record.getMessage()} {vars(record)!r} {record.exc_text}".lower()


def forms(secret: bytes) -> tuple[str, ...]:
    """Return how a secret might look in a log, without its ends."""
    return (
        secret.hex(),
        base64.b64encode(secret).decode().rstrip("=")[:-1].lower(),
        base64.urlsafe_b64encode(secret).decode().rstrip("=")[:-1].lower(),
        repr(secret)[2:-1].lower(),
    )
