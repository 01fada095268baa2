"""Sizes of jobs: how they are written, and how many links they have."""

import pytest

from bench.setup import SIZES, Size


def test_size_is_read_as_it_is_written() -> None:
    """``--sizes`` takes what the table shows."""
    assert all(Size.parse(str(size)) == size for size in SIZES)


@pytest.mark.parametrize("text", ["", "3", "3x", "1x5", "3x0", "axb", "3x5x7"])
def test_size_that_no_job_can_have_is_refused(text: str) -> None:
    """A mistake is found before a realm is started for it."""
    with pytest.raises(ValueError, match="two servers"):
        Size.parse(text)


def test_links_are_those_of_every_pair_that_talks() -> None:
    """Each server with each other, and each client, the consumer too, with each."""
    assert Size(3, 1).links == 3 + 2 * 3
    assert Size(10, 10).links == 45 + 11 * 10
