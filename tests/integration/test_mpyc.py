"""The engine ``mpyc``, each server a process: what it computes and what servers see."""

import asyncio
import secrets
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from participant.bounds import INFINITY
from participant.engines import mpyc_runtime
from participant.engines.base import Plan, Values
from participant.engines.mpyc_channel import PeerLostError
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
from tests.mpyc_servers import (
    Peers,
    computed,
    in_processes,
    outputs,
    plan_of,
)

pytestmark = pytest.mark.slow

ENGINE = Mpyc()

SIZES = [(3, 1), (5, 2)]

FEW = settings(max_examples=6, deadline=None)


def _plan(
    program: AnyProgram, sources: int = 1, size: tuple[int, int] = (3, 1)
) -> Plan:
    return plan_of(pack_program(program), program.width, sources, *size)


def _computed(
    program: AnyProgram, values: Sequence[Values], size: tuple[int, int] = (3, 1)
) -> list[int]:
    return computed(_plan(program, len(values), size), values)


@pytest.mark.parametrize("size", SIZES)
def test_vectors_are_added_up(size: tuple[int, int]) -> None:
    """With a program, and without one."""
    values = [[1, -(2**500)], [5, 2**501], [-7, 0]]

    assert _computed(Sums(2), values, size) == [-1, 2**500]
    assert computed(plan_of(b"", 2, 3, *size), values) == [-1, 2**500]


@pytest.mark.parametrize("size", SIZES)
def test_extremes_are_found_column_by_column(size: tuple[int, int]) -> None:
    """At the ends of what a value may be."""
    most = INFINITY - 1
    values = [[1, -most, 0], [5, most, 0], [-9, 3, 0]]

    assert _computed(Extreme(3, is_greatest=True), values, size) == [5, most, 0]
    assert _computed(Extreme(3, is_greatest=False), values, size) == [-9, -most, 0]


@FEW
@given(
    st.lists(
        st.lists(st.integers(-2, 2), min_size=5, max_size=5), min_size=1, max_size=3
    )
)
def test_the_first_of_the_largest_groups_is_found(sums: list[list[int]]) -> None:
    """As NumPy has it where sums are equal."""
    assert _computed(LargestGroup(5), sums) == [int(np.argmax(np.sum(sums, axis=0)))]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "columns",
    [
        [[7]],
        [[1, 1, 1], [1]],
        [[-3, INFINITY - 1], [1 - INFINITY, 0, 5], [2, 2, 4]],
    ],
)
def test_quantiles_are_found(columns: list[list[int]], size: tuple[int, int]) -> None:
    """Between values, at both ends, with equal ones, of one source and of three."""
    together = sorted(cell for column in columns for cell in column)
    ends = ((0, 1), (1, 1)) if size == (3, 1) else ()
    for numerator, denominator in (*ends, (3, 8)):
        place, weight = divmod((len(together) - 1) * numerator, denominator)
        expected = together[place] * (denominator - weight)
        if weight:
            expected += together[place + 1] * weight
        program = Quantile(numerator, denominator)
        values = [np.array(column, np.int64) for column in columns]

        assert _computed(program, values, size) == [expected]


@FEW
@given(
    st.lists(
        st.lists(st.integers(-5, 5), min_size=1, max_size=9), min_size=2, max_size=3
    ),
    st.integers(0, 10),
)
def test_quantiles_agree_with_numpy(columns: list[list[int]], tenths: int) -> None:
    """Its default definition."""
    together = [cell for column in columns for cell in column]
    values = [np.array(column, np.int64) for column in columns]
    (found,) = _computed(Quantile(tenths, 10), values)

    assert found / 10 == pytest.approx(np.quantile(together, tenths / 10), abs=1e-12)


def _opened(columns: list[list[int]], q: tuple[int, int]) -> list[list[int]]:
    """Return what server 1 opened in the search, round by round."""
    program = Quantile(*q)
    plan = _plan(program, len(columns))
    blocks = [
        ENGINE.share(np.array(column, np.int64), plan, secrets.token_bytes)
        for column in columns
    ]

    def work(party: int, peers: Peers) -> object:
        seen: list[list[int]] = []
        original = mpyc_runtime.Arithmetic.opened

        async def recorded(
            self: mpyc_runtime.Arithmetic, numbers: mpyc_runtime.Shares
        ) -> list[int]:
            seen.append(await original(self, numbers))
            return seen[-1]

        mpyc_runtime.Arithmetic.opened = recorded  # type: ignore[method-assign]
        ENGINE.run(replace(plan, party=party), [row[party] for row in blocks], peers)
        return seen

    answers = in_processes(3, work)
    value = answers[0]["value"]
    assert value == answers[1]["value"] == answers[2]["value"]
    assert isinstance(value, list)
    return value


def test_what_servers_open_has_the_same_form_whatever_the_data() -> None:
    """As many places a round and source, as many rounds, and none twice."""
    for columns, q in (
        ([[1, 2, 3, 4], [5, 6, 7]], (0, 1)),
        ([[5, 5, 5, 5], [5, 5, 5]], (1, 2)),
        ([[8, 9, 9, 9], [1, 1, 1]], (1, 1)),
    ):
        opened = _opened(columns, q)

        assert [len(places) for places in opened] == [2] * (1 + 3 + 2)
        for own in zip(*opened, strict=True):
            assert len(set(own)) == len(own)


@pytest.mark.parametrize(
    "program", [Quantile(1, 2), Figures(Figure.CORRELATION, 2, 20), LargestGroup(3)]
)
def test_nothing_is_opened_but_what_was_shared_anew(program: AnyProgram) -> None:
    """A product of two polynomials has twice the degree, and can be factored."""
    plan = _plan(program)
    values = np.arange(1, 7) if program.width is None else [3, 9, 8, 35, 28, 30]
    values = values[: program.width]
    blocks = ENGINE.share(values, plan, secrets.token_bytes)

    def work(party: int, peers: Peers) -> object:
        degrees: list[int | None] = []
        original = mpyc_runtime.Arithmetic.output

        def recorded(
            self: mpyc_runtime.Arithmetic,
            numbers: object,
            receivers: None = None,
            threshold: int | None = None,
        ) -> object:
            degrees.append(threshold)
            return original(self, numbers, receivers, threshold)

        mpyc_runtime.Arithmetic.output = recorded
        ENGINE.run(replace(plan, party=party), [blocks[party]], peers)
        return [len(degrees) > 0, [degree for degree in degrees if degree is not None]]

    for answer in in_processes(3, work):
        assert answer == {"value": [True, []]}


def _with_a_bad_peer(misbehave: object) -> list[dict[str, object]]:
    plan = _plan(Extreme(1, is_greatest=True), 2)
    blocks = [ENGINE.share([own], plan, secrets.token_bytes) for own in (3, 4)]

    def work(party: int, peers: Peers) -> object:
        own = [row[party] for row in blocks]
        if party == 2:
            assert callable(misbehave)
            for peer in peers.values():
                misbehave(peer)
            return None
        ENGINE.run(replace(plan, party=party), own, peers)
        return None

    return in_processes(3, work)[:2]


def _leaves(peer: socket.socket) -> None:
    peer.close()


def _sends_a_pickle(peer: socket.socket) -> None:
    """Answer whatever comes with what would be a program if it were unpickled."""
    stream = peer.makefile("rb")
    while header := stream.read(12):
        counter, size = struct.unpack("<qI", header)
        stream.read(size)
        payload = b"cos\nsystem\n(S'exit 1'\ntR."
        try:
            peer.sendall(struct.pack("<qI", counter, len(payload)) + payload)
        except OSError:
            return


def _announces_too_much(peer: socket.socket) -> None:
    peer.sendall(struct.pack("<qI", 1, 0xFFFFFFFF))
    peer.recv(1 << 20)


@pytest.mark.parametrize("misbehave", [_leaves, _sends_a_pickle, _announces_too_much])
def test_a_bad_peer_ends_the_job_at_once(misbehave: object) -> None:
    """A server that waits for ever would be the worst answer."""
    for answer in _with_a_bad_peer(misbehave):
        assert answer["error"] in {"PeerLostError", "JobAbortedError"}


def test_a_stop_of_the_loop_while_it_ends_hides_no_cause() -> None:
    """MPyC stops the loop for each coroutine that fails, the last ones at the end."""

    async def stops() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().stop()

    async def work(_: object) -> mpyc_runtime.Shares:
        waiting = asyncio.create_task(stops())
        await asyncio.sleep(0)
        assert not waiting.done()
        raise PeerLostError(2)

    with pytest.raises(PeerLostError):
        mpyc_runtime.compute(Mock(), work, {})


def _prints(script: str) -> str:
    """Return what a Python of its own prints."""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return ran.stdout + ran.stderr


def test_the_engine_does_not_import_mpyc_at_clients() -> None:
    """It takes long, and reads the command line."""
    script = """
import secrets, sys
from participant.engines.mpyc_engine import Mpyc
from participant.programs import Quantile, pack_program
from participant.engines.base import Plan
plan = Plan(bytes(16), 3, None, 1, 1, None, pack_program(Quantile(1, 2)))
Mpyc().share([1, 2, 3], plan, secrets.token_bytes)
print([name for name in sys.modules if name.split(".")[0] == "mpyc"])
"""

    assert _prints(script) == "[]\n"


def test_importing_mpyc_changes_nothing_around_it() -> None:
    """Neither arguments nor logging nor the environment are its business."""
    script = """
import logging, os, sys
def around():
    environment = dict(os.environ)
    environment.pop("MPYC_MAXWORKERS", None)
    return [list(sys.argv), logging.root.handlers[:], logging.root.level, environment]
before = around()
from participant.engines import mpyc_server
print(before == around())
"""

    assert _prints(script) == "True\n"


def test_a_source_need_not_know_the_others() -> None:
    """It learns of servers and consumer alone; its block has to fit all the same."""
    for program, values in (
        (Sums(2), [[1, 2], [3, 4]]),
        (Quantile(1, 1), [np.array([3, 1]), np.array([4])]),
    ):
        plan = _plan(program, len(values))
        alone = replace(plan, sources=1)
        blocks = [ENGINE.share(own, alone, secrets.token_bytes) for own in values]

        found = ENGINE.reconstruct(outputs(plan, blocks), plan)
        assert found == ([4, 6] if len(found) == 2 else [4])
