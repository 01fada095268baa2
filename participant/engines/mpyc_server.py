"""What a server of the engine ``mpyc`` computes, program by program."""

import socket
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from participant.bounds import GROUP_SUM_BITS, VALUE_BITS
from participant.engines import mpyc_runtime
from participant.engines.base import Plan
from participant.engines.comparisons import greatest, greatest_place
from participant.engines.figures import figures
from participant.engines.mpyc_runtime import Arithmetic, Shares, summed
from participant.engines.quantile_search import search
from participant.engines.search_tree import Table
from participant.engines.shamir import field_of
from participant.programs import AnyProgram, Extreme, Figures, LargestGroup, Quantile

Inputs: TypeAlias = Sequence[list[int]] | Sequence[Table]
"""This server's shares of each source's vector, or of its search tree."""


def compute(
    plan: Plan,
    program: AnyProgram,
    inputs: Inputs,
    peers: Mapping[int, socket.socket],
) -> list[int]:
    """Return this server's shares of the output.

    Args:
        plan: the job's plan, with this server's number.
        program: of the plan.
        inputs: one a source, of the shape that the program takes.
        peers: a connected stream to each other server; closed in the end.

    Raises:
        JobAbortedError: a peer's messages made no sense.
        OSError: a channel broke.
    """
    assert plan.party is not None  # noqa: S101 - this is a server
    field = field_of(program.exponent)
    party, parties, threshold = plan.party, plan.parties, plan.threshold

    async def work(runtime: Arithmetic) -> Shares:
        output = await _output(runtime, program, inputs)
        # The consumer sees whole polynomials: none of an earlier step may be left.
        return await runtime.shared_anew(output)

    return mpyc_runtime.compute(
        lambda: Arithmetic(party, parties, threshold, field), work, peers
    )


async def _output(runtime: Arithmetic, program: AnyProgram, inputs: Inputs) -> Shares:
    if isinstance(program, Quantile):
        tables = [table for table in inputs if isinstance(table, Table)]
        return await search(runtime, tables, (program.numerator, program.denominator))
    vectors = runtime.shares(inputs)
    match program:
        case Extreme():
            sign = 1 if program.is_greatest else -1
            found = await greatest(runtime, runtime.scaled(vectors, sign), VALUE_BITS)
            return runtime.scaled(found, sign)
        case LargestGroup():
            sums = summed(vectors)[0]
            return await greatest_place(runtime, sums, GROUP_SUM_BITS)
        case Figures():
            return await figures(runtime, summed(vectors)[0], program)
        case _:
            return summed(vectors).reshape(-1)
