"""The engine ``mpyc``: Shamir shares, on which a majority of servers computes.

Values are shared at the source; servers compute on shares with MPyC; the consumer
puts output shares together. Keeps data secret as long as no more than t servers pool
what they see, t < n / 2, and all compute what they should.
"""

import socket
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Final

import numpy as np

from participant.bounds import MAX_ROWS, MAX_SOURCES
from participant.engines.base import Entropy, Plan, Values
from participant.engines.search_tree import (
    DUMMIES,
    Shape,
    Table,
    search_table,
)
from participant.engines.shamir import Field, field_of
from participant.programs import AnyProgram, Quantile, read_program
from shared.errors import (
    FailureCode,
    JobAbortedError,
    RefusalCode,
    RefusedError,
)

MIN_PARTIES: Final = 3
MAX_PARTIES: Final = 64
FORMAT: Final = 1
"""Raised with every change of shares and of what servers say to each other."""

_ROWS: Final = struct.Struct("<Q")
"""The number of a column's rows, at the start of its table."""


class Mpyc:
    """The engine ``mpyc``; see the module."""

    name: Final = "mpyc"
    in_worker: Final = True
    preload: Final = ("participant.engines.mpyc_server",)

    @property
    def version(self) -> str:
        """See ``Engine``: servers with different releases of MPyC do not mix."""
        return f"{FORMAT} {_library_version()}"

    def max_threshold(self, parties: int) -> int:
        """See ``Engine``."""
        return (parties - 1) // 2 if parties >= MIN_PARTIES else 0

    def max_block_bytes(self, plan: Plan) -> int:
        """See ``Engine``."""
        program = _program(plan)
        width = field_of(program.exponent).element_bytes
        if program.width is None:
            shape = Shape(MAX_ROWS, DUMMIES)
            return _ROWS.size + shape.elements * width
        return program.width * width

    def check(self, plan: Plan) -> None:
        """See ``Engine``."""
        if not MIN_PARTIES <= plan.parties <= MAX_PARTIES:
            raise _unsupported(
                f"needs {MIN_PARTIES} to {MAX_PARTIES} servers, not {plan.parties}"
            )
        most = self.max_threshold(plan.parties)
        if not 1 <= plan.threshold <= most:
            raise _unsupported(
                f"withstands 1 to {most} of {plan.parties} servers together,"
                f" not {plan.threshold}"
            )
        if not 1 <= plan.sources <= MAX_SOURCES:
            raise _unsupported(f"serves 1 to {MAX_SOURCES} sources")
        _program(plan)

    def check_values(self, values: Values, plan: Plan) -> None:
        """See ``Engine``."""
        self.check(plan)
        program = _program(plan)
        if program.width is not None and len(values) != program.width:
            raise RefusedError(
                f"{len(values)} values where the plan has {program.width}",
                RefusalCode.INTERNAL,
            )
        program.check_value_bounds(values)

    def share(self, values: Values, plan: Plan, entropy: Entropy) -> list[bytes]:
        """See ``Engine``."""
        self.check_values(values, plan)
        program = _program(plan)
        head = b""
        if isinstance(program, Quantile):
            column = np.asarray(values, np.int64)
            head = _ROWS.pack(len(column))
            values = search_table(column, DUMMIES, entropy)
        shares = field_of(program.exponent).share(
            values, plan.parties, plan.threshold, entropy
        )
        shares.reverse()
        # One is given back before the next is copied: all of them are long.
        return [head + shares.pop() for _ in range(plan.parties)]

    def run(
        self,
        plan: Plan,
        blocks: Sequence[bytes],
        peers: Mapping[int, socket.socket],
    ) -> bytes:
        """See ``Engine``."""
        # MPyC is for workers alone; at clients this module has to stay light.
        from participant.engines.mpyc_server import Inputs, compute  # noqa: PLC0415

        self.check(plan)
        program = _program(plan)
        field = field_of(program.exponent)
        _check_count(blocks, plan.sources, "source")
        inputs: Inputs
        if isinstance(program, Quantile):
            inputs = [_table(block, field) for block in blocks]
        else:
            inputs = [_elements(block, program.width, field) for block in blocks]
        return field.write(compute(plan, program, inputs, peers))

    def reconstruct(self, shares: Sequence[bytes], plan: Plan) -> list[int]:
        """See ``Engine``."""
        program = _program(plan)
        field = field_of(program.exponent)
        _check_count(shares, plan.parties, "server")
        rows = [_elements(share, program.outputs, field) for share in shares]
        return field.recombine(rows, plan.threshold)


def _program(plan: Plan) -> AnyProgram:
    return read_program(plan.program, plan.width)


@cache
def _library_version() -> str:
    return metadata.version("mpyc")


def _check_count(blocks: Sequence[bytes], count: int, who: str) -> None:
    if len(blocks) != count:
        raise JobAbortedError(
            f"{len(blocks)} blocks of shares came where {count} were due, one a {who}",
            FailureCode.ENGINE,
        )


def _elements(block: bytes, count: int, field: Field) -> list[int]:
    if len(block) != count * field.element_bytes:
        raise _wrong_length(block, count * field.element_bytes)
    return field.read(block)


def _table(block: bytes, field: Field) -> Table:
    """Return the tree in a source's block."""
    if len(block) < _ROWS.size:
        raise _wrong_length(block, _ROWS.size)
    (rows,) = _ROWS.unpack_from(block)
    if not 1 <= rows <= MAX_ROWS:
        raise JobAbortedError(
            "a source's table has a number of rows that is not served",
            FailureCode.ENGINE,
        )
    shape = Shape(rows, DUMMIES)
    due = _ROWS.size + shape.elements * field.element_bytes
    if len(block) != due:
        raise _wrong_length(block, due)
    return Table(shape, memoryview(block)[_ROWS.size :], field)


def _wrong_length(block: bytes, due: int) -> JobAbortedError:
    return JobAbortedError(
        f"a block of shares has {len(block)} bytes where {due} were due; its sender"
        " follows another plan",
        FailureCode.ENGINE,
    )


def _unsupported(what: str) -> RefusedError:
    return RefusedError(f"engine 'mpyc' {what}", RefusalCode.UNSUPPORTED)
