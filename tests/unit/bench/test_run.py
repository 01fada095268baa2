"""What is wanted decides what is prepared, and nothing else is."""

from bench import growth
from bench.run import JOB_SIZE, Part, Wanted
from bench.setup import Size

SIZES = (Size(3, 5), Size(3, 1))


def wanted(*parts: Part) -> Wanted:
    """These parts, with two sizes of set-ups."""
    return Wanted(frozenset(parts), SIZES, 7)


def test_sizes_belong_to_the_parts_that_ask_for_them() -> None:
    """``setup --sizes 3x1`` does not start sixty parties for the growth."""
    assert wanted(Part.SETUP).job_sizes == (Size(3, 1), Size(3, 5))
    assert wanted(Part.ENVELOPES).job_sizes == ()
    assert wanted(Part.THROUGHPUT).job_sizes == (JOB_SIZE,)
    assert set(wanted(Part.SETUP, Part.GROWTH).job_sizes) == {*SIZES, *growth.SIZES}


def test_large_tables_are_for_who_reads_them() -> None:
    """Ten million rows are not written to measure a set-up."""
    assert wanted(Part.MEMORY).asks_questions
    assert wanted(Part.QUESTIONS, Part.SETUP).asks_questions
    assert not wanted(*(set(Part) - {Part.MEMORY, Part.QUESTIONS})).asks_questions
