"""The engine that adds up shares."""

import hashlib
import secrets
from collections.abc import Callable

import numpy as np
import pytest

from participant.engines.additive import MAX_MAGNITUDE, VALUE_BYTES, Additive
from participant.engines.base import MAX_SOURCES, Plan
from participant.engines.registry import engine, names
from shared.errors import FailureCode, JobAbortedError, RefusalCode, RefusedError
from shared.names import JobId

ENGINE = Additive()


def _plan(
    parties: int = 3,
    sources: int = 1,
    width: int | None = 4,
    threshold: int = 1,
    program: bytes = b"",
) -> Plan:
    return Plan(
        job=JobId(bytes(16)), parties=parties, party=None, sources=sources,
        threshold=threshold, width=width, program=program,
    )  # fmt: skip


def _counter() -> Callable[[int], bytes]:
    """Return a source of bytes that repeats from test to test."""
    calls = iter(range(1 << 30))
    return lambda size: hashlib.shake_128(b"%d" % next(calls)).digest(size)


def test_the_sum_of_the_sources_comes_out() -> None:
    """Signs and extremes included, for every number of servers."""
    ours = [0, -1, MAX_MAGNITUDE - 1, 12345678901234567890]
    theirs = [0, 1, MAX_MAGNITUDE - 1, -99999999999999999999]
    for parties in range(2, 12):
        plan = _plan(parties, sources=2)
        one, two = (ENGINE.share(v, plan, secrets.token_bytes) for v in (ours, theirs))
        outputs = [ENGINE.run(plan, pair, {}) for pair in zip(one, two, strict=True)]

        assert ENGINE.reconstruct(outputs, plan) == [
            left + right for left, right in zip(ours, theirs, strict=True)
        ]


def test_all_sources_at_their_limit_do_not_overflow() -> None:
    """The refusal of large values leaves room for the greatest job."""
    ring = 1 << 512
    for sign in (1, -1):
        total = sign * (MAX_MAGNITUDE - 1) * MAX_SOURCES
        wrapped = (total % ring).to_bytes(VALUE_BYTES, "little")

        assert ENGINE.reconstruct([bytes(VALUE_BYTES), wrapped], _plan(2, width=1)) == [
            total
        ]


@pytest.mark.parametrize("value", [MAX_MAGNITUDE, -MAX_MAGNITUDE, 1 << 600])
def test_a_value_without_headroom_is_refused(value: int) -> None:
    """A wrapped sum would be a wrong result that looks right."""
    with pytest.raises(RefusedError) as caught:
        ENGINE.share([0, 0, 0, value], _plan(), secrets.token_bytes)

    assert caught.value.code is RefusalCode.OVERFLOW


def test_all_blocks_but_the_last_are_entropy() -> None:
    """So n - 1 shares without the last are independent of the values by construction."""
    plan = _plan(4)
    blocks = ENGINE.share([1, 2, 3, 4], plan, _counter())
    entropy = _counter()

    assert blocks[:-1] == [entropy(4 * VALUE_BYTES) for _ in range(3)]


def test_any_block_may_be_the_one_that_is_not_seen() -> None:
    """For each n - 1 blocks and each other value there is a missing block that fits.

    The missing block is uniform, and one to one with the value: seeing the
    others says nothing.
    """
    plan = _plan(3, width=1)
    blocks = ENGINE.share([42], plan, secrets.token_bytes)
    for hidden in range(3):
        seen = [block for index, block in enumerate(blocks) if index != hidden]
        for other in (0, -7, MAX_MAGNITUDE - 1):
            rest = other - sum(int.from_bytes(block, "little") for block in seen)
            fitting = (rest % (1 << 512)).to_bytes(VALUE_BYTES, "little")

            assert ENGINE.reconstruct([*seen, fitting], plan) == [other]


def test_two_sharings_of_one_value_have_nothing_in_common() -> None:
    """Randomness is drawn anew each time."""
    first = ENGINE.share([5] * 4, _plan(), secrets.token_bytes)
    second = ENGINE.share([5] * 4, _plan(), secrets.token_bytes)

    assert not set(first) & set(second)


def test_short_entropy_is_refused() -> None:
    """A source that runs dry must not weaken a share."""
    with pytest.raises(RefusedError) as caught:
        ENGINE.share([1] * 4, _plan(), lambda size: bytes(size - 1))

    assert caught.value.code is RefusalCode.INTERNAL


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        bytes(4 * VALUE_BYTES - 1),
        bytes(4 * VALUE_BYTES + 1),
        bytes(3 * VALUE_BYTES),
    ],
)
def test_a_block_of_another_length_ends_the_job(wrong: bytes) -> None:
    """At a server and at the consumer."""
    blocks = [bytes(4 * VALUE_BYTES), wrong]
    with pytest.raises(JobAbortedError) as caught:
        ENGINE.run(_plan(2, sources=2), blocks, {})
    assert caught.value.code is FailureCode.ENGINE

    with pytest.raises(JobAbortedError) as caught:
        ENGINE.reconstruct(blocks, _plan(2))

    assert caught.value.code is FailureCode.ENGINE


def test_a_missing_or_extra_block_ends_the_job() -> None:
    """The sum would be that of other sources than agreed."""
    right = bytes(4 * VALUE_BYTES)
    for count in (0, 1, 3):
        with pytest.raises(JobAbortedError):
            ENGINE.run(_plan(2, sources=2), [right] * count, {})
        with pytest.raises(JobAbortedError):
            ENGINE.reconstruct([right] * count, _plan(2))


def test_another_number_of_values_than_planned_is_refused() -> None:
    """The servers would refuse the block; better before it leaves."""
    with pytest.raises(RefusedError):
        ENGINE.share([1], _plan(), secrets.token_bytes)


@pytest.mark.parametrize(
    "plan",
    [
        _plan(parties=1),
        _plan(threshold=0),
        _plan(threshold=3),
        _plan(sources=0),
        _plan(sources=MAX_SOURCES + 1),
        _plan(width=0),
        _plan(width=None),
        _plan(program=b"\x01"),
    ],
)
def test_a_plan_that_cannot_be_served_is_refused(plan: Plan) -> None:
    """Before anything is shared."""
    with pytest.raises(RefusedError) as caught:
        ENGINE.check(plan)

    assert caught.value.code is RefusalCode.UNSUPPORTED


def test_long_vectors_are_shared_at_once() -> None:
    """A histogram of 16,000 counts among seven servers."""
    values = list(range(-8000, 8000))
    plan = _plan(7, width=len(values))
    blocks = ENGINE.share(values, plan, secrets.token_bytes)

    assert (
        ENGINE.reconstruct([ENGINE.run(plan, [block], {}) for block in blocks], plan)
        == values
    )


def test_a_column_may_come_as_an_array() -> None:
    """The lowest number included, whose absolute value is no int64."""
    values = np.array([-(2**63), 2**63 - 1, 0, -1])
    blocks = ENGINE.share(values, _plan(), secrets.token_bytes)
    outputs = [ENGINE.run(_plan(), [block], {}) for block in blocks]

    assert ENGINE.reconstruct(outputs, _plan()) == values.tolist()


def test_a_block_is_as_long_as_was_said() -> None:
    """The bound goes into the authorisation, and a server takes no byte more."""
    blocks = ENGINE.share([1, 2, 3, 4], _plan(), secrets.token_bytes)

    assert {len(block) for block in blocks} == {ENGINE.max_block_bytes(_plan())}


def test_engines_are_found_by_name() -> None:
    """And the refusal of an unknown one says which there are."""
    assert engine("additive").name == "additive"
    assert names() == ("additive", "mpyc")

    with pytest.raises(RefusedError, match="there is additive") as caught:
        engine("magic")
    assert caught.value.code is RefusalCode.UNSUPPORTED
