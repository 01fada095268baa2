"""The replay window takes each number once, in any order, and forgets slowly."""

from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.window import WIDTH, Verdict, Window, judge

DIGEST = b"d" * 32
OTHER = b"o" * 32


def handled(numbers: list[int]) -> Window:
    """Return the window after these numbers."""
    window = Window()
    for number in numbers:
        window = window.with_seen(number)
    return window


def test_07_the_same_envelope_again_is_a_duplicate() -> None:
    """At-least-once delivery makes duplicates normal."""
    window = handled([1])

    assert judge(window, 1, DIGEST, DIGEST, DIGEST) is Verdict.DUPLICATE


def test_08_the_same_mid_with_other_content_is_equivocation() -> None:
    """A sender that says two things under one message id is watched."""
    assert judge(handled([1]), 2, OTHER, DIGEST, None) is Verdict.EQUIVOCATION


def test_09_the_same_number_with_another_mid_is_equivocation() -> None:
    """With and without the row of the first one still there."""
    window = handled([1, 2])

    assert judge(window, 2, OTHER, None, DIGEST) is Verdict.EQUIVOCATION
    assert judge(window, 2, OTHER, None, None) is Verdict.EQUIVOCATION


def test_09_a_number_whose_digest_is_kept_is_never_handled_again() -> None:
    """Whatever the window says: one that was lost, for instance."""
    assert judge(Window(), 2, OTHER, None, DIGEST) is Verdict.EQUIVOCATION


def test_11_left_of_the_window_is_stale_and_a_gap_is_counted() -> None:
    """A gap of ten thousand is handled and counted as evidence of loss."""
    window = handled([1, 10_002])

    assert window.lost == 10_000
    assert judge(window, 10_002 - WIDTH, DIGEST, None, None) is Verdict.STALE
    assert judge(window, 10_002 - WIDTH + 1, DIGEST, None, None) is Verdict.HANDLE
    assert judge(window, 0, DIGEST, None, None) is Verdict.STALE
    assert judge(window, 20_003, DIGEST, None, None) is Verdict.HANDLE


@given(st.lists(st.integers(min_value=1, max_value=3 * WIDTH), max_size=60))
def test_a_number_is_handled_at_most_once(numbers: list[int]) -> None:
    """Whatever order and repetition the broker invents."""
    window = Window()
    taken: list[int] = []
    for number in numbers:
        if judge(window, number, DIGEST, None, None) is Verdict.HANDLE:
            taken.append(number)
            window = window.with_seen(number)

    assert len(taken) == len(set(taken))
    assert window.highest == max(taken, default=0)
    assert window.bits < 1 << WIDTH
