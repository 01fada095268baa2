"""MPyC's runtime on sockets that are given: shares in, products and signs out.

Imported in worker processes only. Of MPyC this uses the arithmetic; its
connections, its pickles and its reading of the command line are replaced or kept
away from what is the program's. One process computes one job: MPyC's runtime is global.
"""

import asyncio
import logging
import os
import socket
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from participant.bounds import STATISTICAL_BITS
from participant.engines.mpyc_channel import Channel, PeerLostError, ShareCodec
from participant.engines.shamir import Field
from shared.errors import FailureCode, JobAbortedError


@contextmanager
def _kept_to_itself() -> Iterator[None]:
    """Let MPyC be imported: it reads arguments, sets up logging and makes a loop."""
    arguments, handlers = sys.argv, list(logging.root.handlers)
    level, environment = logging.root.level, dict(os.environ)
    sys.argv = ["mpyc", "--no-log", "--no-uvloop"]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        with warnings.catch_warnings():
            # It names a part of NumPy by its former name.
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        sys.argv = arguments
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        for name in os.environ.keys() - environment.keys():
            if name != "MPYC_MAXWORKERS":  # it is read again while computing
                del os.environ[name]


with _kept_to_itself():
    import mpyc.mpctools
    import mpyc.random
    import mpyc.runtime
    import mpyc.seclists
    import mpyc.secpols
    import mpyc.statistics
    from mpyc import asyncoro, secgroups, sectypes

Shares: TypeAlias = NDArray[np.object_]
"""One server's shares of an array: NumPy's operators work on them without talking.

They are field arrays of MPyC's, which are to be used as arrays; for the type checker,
which knows nothing of MPyC, they are arrays.
"""


def summed(numbers: Shares, axis: int = 0) -> Shares:
    """Return the sums along an axis, which is kept with the length 1."""
    return cast("Shares", np.sum(numbers, axis=axis, keepdims=True))


class Arithmetic(mpyc.runtime.Runtime):  # type: ignore[misc] # MPyC has no types
    """Arithmetic on shares that takes the servers' co-operation.

    Servers match messages by the order in which work is started, so that order has
    to be the same everywhere: one coroutine starts everything, and what it starts
    before it awaits goes on at once. No ``asyncio.gather`` over coroutines.

    Args:
        party: this server's number.
        parties: how many servers there are.
        threshold: so many learn nothing together.
        field: of the shares.
    """

    def __init__(self, party: int, parties: int, threshold: int, field: Field) -> None:
        options = SimpleNamespace(
            threshold=threshold,
            sec_param=STATISTICAL_BITS,
            bit_length=field.exponent - STATISTICAL_BITS - 2,
            no_log=True,
            no_async=False,
            no_barrier=True,
            no_prss=True,
            mix32_64bit=False,
        )
        everybody = [mpyc.runtime.Party(number) for number in range(parties)]
        super().__init__(party, everybody, options)
        for module in (
            asyncoro,
            mpyc.mpctools,
            mpyc.random,
            mpyc.seclists,
            mpyc.secpols,
            mpyc.statistics,
            secgroups,
            sectypes,
        ):
            module.runtime = self
        mpyc.runtime.pickle = ShareCodec(field)
        self._secret = sectypes.SecInt(options.bit_length, field.modulus)

    def shares(self, elements: object) -> Shares:
        """Return this server's shares of an array; public numbers are their own."""
        return cast(
            "Shares", self._secret.field.array(np.array(elements, dtype=object))
        )

    def scaled(self, numbers: Shares, factor: int) -> Shares:
        """Return numbers times a public one."""
        return cast("Shares", numbers * factor)

    def elements(self, numbers: Shares) -> list[int]:
        """Return shares as residues, in a row."""
        values = cast("NDArray[np.object_]", getattr(numbers, "value"))  # noqa: B009
        return [int(value) for value in values.reshape(-1)]

    def multiply(self, left: Shares, right: Shares) -> Awaitable[Shares]:
        """Start to multiply, element by element."""
        return cast("Awaitable[Shares]", self._reshare(left * right))

    def matrix_product(self, left: Shares, right: Shares) -> Awaitable[Shares]:
        """Start to multiply matrices; as many messages as for the result alone."""
        return cast("Awaitable[Shares]", self._reshare(left @ right))

    def shared_anew(self, numbers: Shares) -> Awaitable[Shares]:
        """Start to share numbers by other polynomials that are uniformly random."""
        return cast("Awaitable[Shares]", self._reshare(numbers))

    async def product(self, factors: Shares) -> Shares:
        """Return the products along the first axis."""
        while (count := len(factors)) > 1:
            half, odd = divmod(count, 2)
            products = await self.multiply(
                factors[odd : odd + half], factors[odd + half :]
            )
            factors = np.concatenate((factors[:odd], products)) if odd else products
        return cast("Shares", factors[0])

    async def is_negative(self, numbers: Shares, bits: int) -> Shares:
        """Return 1 for each number below 0, else 0.

        Args:
            numbers: from -2**(bits - 1) to 2**(bits - 1) - 1.
            bits: how many they have with the sign.
        """
        signs = self.np_sgn(self._secret.array(numbers), l=bits, LT=True)
        return cast("Shares", await self.gather(signs))

    async def shortened(self, numbers: Shares, bits: int, dropped: int) -> Shares:
        """Return numbers without their last bits, rounded up or down.

        Args:
            numbers: from -2**(bits - 1) to 2**(bits - 1) - 1.
            bits: how many they have with the sign.
            dropped: how many are dropped.
        """
        return cast("Shares", await self.np_trunc(numbers, f=dropped, l=bits))

    async def opened(self, numbers: Shares) -> list[int]:
        """Return a row of numbers to every server in clear."""
        return self.elements(await self.output(numbers))

    @asyncoro.mpc_coro  # type: ignore[untyped-decorator] # MPyC has no types
    async def np_is_zero_public(self, a: object) -> asyncio.Future:  # type: ignore[type-arg] # MPyC makes one: it must be a class
        """Say of each element whether it is 0; comparisons need this.

        MPyC opens the product of shares of the element and of a random one as it
        is. From a product of polynomials its factors can be had, so that one server
        could test guesses of the element. Here the product is shared anew first.
        """
        elements = await self.gather(a)
        flat = elements.reshape(-1)
        random = await self._np_randoms(type(flat).field, flat.size)
        masked = await self._reshare(flat * random)
        opened = await self.output(masked)
        return cast("asyncio.Future[object]", (opened == 0).reshape(elements.shape))

    def unset_protocol(self, peer_pid: int) -> None:
        """Do nothing: a channel tells its own end."""


def compute(
    arithmetic: Callable[[], Arithmetic],
    work: Callable[[Arithmetic], Awaitable[Shares]],
    peers: Mapping[int, socket.socket],
) -> list[int]:
    """Return this server's shares of a computation's output.

    Args:
        arithmetic: makes the runtime; called with the loop in place.
        work: the computation.
        peers: a connected stream to each other server; closed in the end.

    Raises:
        JobAbortedError: a peer's messages made no sense.
        PeerLostError: a peer left before it had sent everything.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    failures: list[BaseException] = []

    def failed(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            failures.append(error)
            loop.stop()

    try:
        runtime = arithmetic()
        loop.set_exception_handler(failed)
        return loop.run_until_complete(_computed(runtime, work, peers))
    except Exception as error:  # noqa: BLE001 - whatever MPyC raises
        # MPyC stops the loop where a coroutine of its fails; that one tells more.
        for cause in (*failures, error):
            if isinstance(cause, (PeerLostError, JobAbortedError)):
                raise cause from None
        raise JobAbortedError(
            "the servers' computation failed: messages were not what was due",
            FailureCode.ENGINE,
        ) from None
    finally:
        loop.set_exception_handler(lambda _loop, _context: None)
        _end_all_tasks(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _end_all_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what still waits, and give it turns to end.

    Its end may be another failure of MPyC's, which stops the loop again: a turn that
    ends early is no error here, as it would be to ``run_until_complete``.
    """
    for task in asyncio.all_tasks(loop):
        task.cancel()
    for _ in range(3):  # throw; wake up who awaits; their callbacks
        loop.call_soon(loop.stop)
        loop.run_forever()


async def _computed(
    runtime: Arithmetic,
    work: Callable[[Arithmetic], Awaitable[Shares]],
    peers: Mapping[int, socket.socket],
) -> list[int]:
    loop = asyncio.get_running_loop()
    channels = []
    for number, peer in peers.items():
        channel = Channel(number, loop)
        await loop.connect_accepted_socket(partial(_same, channel), sock=peer)
        runtime.parties[number].protocol = channel
        channels.append(channel)
    try:
        output = await work(runtime)
        shares = runtime.elements(output)
    except BaseException:
        for channel in channels:
            channel.abort()
        raise
    for channel in channels:
        channel.close()
    await asyncio.gather(*(channel.is_closed for channel in channels))
    return shares


def _same(channel: Channel) -> Channel:
    """Return the channel; what asyncio calls for a connection's protocol."""
    return channel
