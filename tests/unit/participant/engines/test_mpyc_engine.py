"""The engine ``mpyc`` refuses what it cannot compute, at clients and at servers."""

import secrets
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from participant.bounds import CELL_BITS, INFINITY, MAX_ROWS
from participant.engines.base import Plan, Values
from participant.engines.mpyc_engine import Mpyc
from participant.programs import (
    AnyProgram,
    Extreme,
    Figure,
    Figures,
    LargestGroup,
    Quantile,
    Sums,
    pack_program,
)
from shared import codec
from shared.errors import FailureCode, JobAbortedError, RefusalCode, RefusedError
from tests.mpyc_servers import (
    plan_of,
)

ENGINE = Mpyc()


def _plan(
    program: AnyProgram, sources: int = 1, size: tuple[int, int] = (3, 1)
) -> Plan:
    return plan_of(pack_program(program), program.width, sources, *size)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parties": 2}, "3 to 64 servers"),
        ({"parties": 65}, "3 to 64 servers"),
        ({"threshold": 0}, "1 to 1 of 3"),
        ({"threshold": 2}, "1 to 1 of 3"),
        ({"parties": 7, "threshold": 4}, "1 to 3 of 7"),
        ({"sources": 0}, "1 to 256 sources"),
        ({"sources": 257}, "1 to 256 sources"),
        ({"width": 3}, "no such program"),
        ({"program": b"nonsense"}, "no such program"),
        ({"program": codec.encode({"kind": "sums"})}, "no such program"),
        ({"program": codec.encode({"kind": "other", "width": 2})}, "no such program"),
        ({"program": codec.encode({"kind": "sums", "width": "2"})}, "no such program"),
        ({"program": codec.encode({"kind": "sums", "width": -2})}, "no such program"),
        ({"program": b"", "width": 0}, "no such program"),
        (
            {"program": pack_program(Quantile(3, 2)), "width": None},
            "no such program",
        ),
        (
            {"program": pack_program(Quantile(0, 0)), "width": None},
            "no such program",
        ),
        (
            {
                "program": pack_program(Figures(Figure.REGRESSION, 10, 20)),
                "width": Figures(Figure.REGRESSION, 10, 20).width,
            },
            "no such program",
        ),
        ({"program": pack_program(LargestGroup(1025)), "width": 1025}, "no such"),
    ],
)
def test_plans_that_it_cannot_serve_are_refused(
    change: dict[str, object], words: str
) -> None:
    """Every party does, before anything is sent."""
    plan = replace(_plan(Sums(2)), **change)  # type: ignore[arg-type] # of any field
    with pytest.raises(RefusedError, match=words) as caught:
        ENGINE.check(plan)
    assert caught.value.code is RefusalCode.UNSUPPORTED


@pytest.mark.parametrize(
    ("program", "values"),
    [
        (Sums(1), [2**503]),
        (Extreme(1, is_greatest=True), [INFINITY]),
        (LargestGroup(1), [-(2**118)]),
        (Quantile(1, 2), np.array([-INFINITY])),
        (Quantile(1, 2), np.zeros(MAX_ROWS + 1, np.int64)),
        (Quantile(1, 2), np.zeros(0, np.int64)),
        (Figures(Figure.VARIANCE, 1, 20), [2**26, 0, 0]),
        (Figures(Figure.VARIANCE, 1, 20), [1, 2 ** (26 + CELL_BITS), 0]),
        (Figures(Figure.VARIANCE, 1, 20), [1, 0, 2 ** (26 + 2 * CELL_BITS)]),
    ],
)
def test_values_that_are_too_large_are_refused_before_the_source_accepts(
    program: AnyProgram, values: Values
) -> None:
    """Numbers that overflow would come out as others."""
    with pytest.raises(RefusedError) as caught:
        ENGINE.check_values(values, _plan(program))
    assert caught.value.code is RefusalCode.OVERFLOW


def test_a_wrong_number_of_values_is_refused() -> None:
    """It is a bug of the statistic's."""
    with pytest.raises(RefusedError, match="1 values where the plan has 2"):
        ENGINE.share([1], _plan(Sums(2)), secrets.token_bytes)


def test_blocks_are_within_their_bound() -> None:
    """What a source may send is in the signed spec."""
    for program, values in (
        (Sums(2), [1, 2]),
        (Quantile(1, 2), np.arange(1000)),
        (Figures(Figure.COVARIANCE, 1, 20), [1, 1, 1]),
    ):
        plan = _plan(program, 256)
        bound = ENGINE.max_block_bytes(plan)
        blocks = ENGINE.share(values, plan, secrets.token_bytes)

        assert len(blocks) == 3
        assert all(len(block) <= bound for block in blocks)


@pytest.mark.parametrize("cut", [0, 5, 100])
def test_blocks_of_another_length_end_the_job(cut: int) -> None:
    """Before anything is said to the peers."""
    for program, values in ((Sums(9), list(range(9))), (Quantile(1, 2), np.arange(9))):
        plan = _plan(program)
        blocks = ENGINE.share(values, plan, secrets.token_bytes)
        server = replace(plan, party=0)
        for wrong in ([blocks[0][:cut]], [blocks[0] + b"\0"], [], blocks[:2]):
            with pytest.raises(JobAbortedError) as caught:
                ENGINE.run(server, wrong, {})
            assert caught.value.code is FailureCode.ENGINE


def test_a_table_with_an_impossible_number_of_rows_ends_the_job() -> None:
    """Its length would follow from that number."""
    plan = _plan(Quantile(1, 2))
    for rows in (0, MAX_ROWS + 1, 2**63):
        with pytest.raises(JobAbortedError, match="number of rows"):
            ENGINE.run(replace(plan, party=0), [struct.pack("<Q", rows)], {})


def test_output_shares_of_another_length_or_number_are_refused() -> None:
    """The consumer checks what servers say."""
    plan = _plan(Extreme(1, is_greatest=True))
    for shares in ([bytes(16)] * 2, [bytes(16), bytes(16), bytes(32)]):
        with pytest.raises(JobAbortedError):
            ENGINE.reconstruct(shares, plan)


def test_what_mpyc_makes_of_an_annotation_is_a_class() -> None:
    """Python 3.13 refuses to ask whether a generic is a subclass, as MPyC does."""
    script = """
from typing import get_type_hints
from participant.engines.mpyc_runtime import Arithmetic
assert isinstance(get_type_hints(Arithmetic.np_is_zero_public)["return"], type)
"""
    # In a process of its own: MPyC belongs into none that does anything else.
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
