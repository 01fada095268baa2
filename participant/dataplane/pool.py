"""Dialling, and the links that wait for their next job.

Source: docs/protocol.md, section "Links". Only the dialler starts a job on a link or
closes an idle one.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from participant.dataplane.addresses import split_address
from participant.dataplane.frames import FrameType
from participant.dataplane.links import Link, LinkEndedError, LinkLostError
from participant.dataplane.times import Times
from participant.dataplane.tls import Identities, server_name
from participant.protocol.peer_hello import check_peer_leaf, read_link_hello
from shared.clock import Clock
from shared.errors import ConfigError, FrameworkError
from shared.names import Principal, Realm, Role

MAX_IDLE: Final = 2
"""Idle links that are kept a pair of leaves."""
DIAL_PAUSE_SECONDS: Final = 0.25
"""When a server is dialled again that closed before its link.hello, being full."""
_BUSY: Final = (ConnectionResetError, ConnectionAbortedError, LinkEndedError)


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Target:
    """An MPC server as a job's manifest has it, and which own leaf to show it."""

    principal: Principal
    own_spki: bytes
    spki: bytes
    realm: Realm = field(compare=False)
    addresses: tuple[str, ...] = field(compare=False)


class LinkPool:
    """The links that this process dialled."""

    def __init__(self, identities: Identities, times: Times, clock: Clock) -> None:
        self._identities = identities
        self._times = times
        self._clock = clock
        self._idle: dict[Target, list[Link]] = defaultdict(list)
        self.handshakes = 0
        """How many links were dialled so far."""

    async def take(self, target: Target) -> tuple[Link, bool]:
        """Return a link for one job, and whether it served one before.

        Raises:
            LinkLostError: no address of the server answers, or what answers is not
                that server.
            FrameworkError: the TLS key that the job names is not here.
        """
        idle = self._idle[target]
        while idle:
            link = idle.pop()
            if self._is_usable(link):
                return link, True
            link.close()
        return await self.dial(target), False

    async def begin(self, target: Target, start: Callable[[Link], Awaitable[_T]]) -> _T:
        """Start a job on a link, and return what ``start`` returns.

        A pooled link that broke meanwhile is dialled anew. So is one that its
        listener closed without a word before it answered: it had to make room.

        Args:
            target: whom with.
            start: sends the job's first frame and takes the answer.

        Raises:
            LinkLostError: as ``take``, or it was closed again for ``Times.connect``.
            FrameworkError: whatever else ``start`` raises.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self._times.connect.total_seconds()
        link, is_pooled = await self.take(target)
        while True:
            try:
                return await start(link)
            except LinkLostError as error:
                had_to_go = isinstance(error, LinkEndedError) and loop.time() < end
                if not is_pooled and not had_to_go:
                    raise
            if not is_pooled:
                await asyncio.sleep(DIAL_PAUSE_SECONDS)
            link, is_pooled = await self.dial(target), False

    async def dial(self, target: Target) -> Link:
        """Return a fresh link; errors as ``take``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._times.connect.total_seconds()
        while True:
            errors: list[FrameworkError | OSError] = []
            for address in target.addresses:
                try:
                    return await self._dial_address(target, address)
                except TimeoutError:
                    errors.append(LinkLostError("it does not answer"))
                except (OSError, FrameworkError) as error:
                    errors.append(error)
            is_busy = any(isinstance(error, _BUSY) for error in errors)
            if not is_busy or loop.time() > end:
                break
            await asyncio.sleep(DIAL_PAUSE_SECONDS)
        raise LinkLostError(
            f"cannot link with {target.principal} at"
            f" {', '.join(target.addresses) or 'no address'}:"
            f" {'; '.join(_reason(error) for error in errors) or 'nothing to dial'}"
        )

    def give_back(self, target: Target, link: Link) -> None:
        """Keep a link whose job is over for the next one, or close it."""
        link.end_job()
        idle = self._idle[target]
        idle[:] = [other for other in idle if self._is_usable(other)]
        if len(idle) >= MAX_IDLE or not self._is_usable(link):
            link.close()
            return
        idle.append(link)
        left = self._times.link_life.total_seconds() - link.age_seconds
        asyncio.get_running_loop().call_later(left, self._retire, target, link)

    def close(self) -> None:
        """Close every idle link."""
        for links in self._idle.values():
            for link in links:
                link.close()
        self._idle.clear()

    def _retire(self, target: Target, link: Link) -> None:
        """Close a link that is idle at the end of its life."""
        if link in self._idle[target]:
            self._idle[target].remove(link)
            link.close()

    def _is_usable(self, link: Link) -> bool:
        return (
            link.is_open
            and not link.has_frames
            and link.age_seconds < self._times.link_life.total_seconds()
            and link.leaves.are_in_time(self._clock.now())
        )

    async def _dial_address(self, target: Target, address: str) -> Link:
        identity = self._identities.of(target.own_spki)
        if identity is None:
            raise FrameworkError("the TLS key of this job is no longer here")
        host, port = split_address(address)
        loop = asyncio.get_running_loop()
        link = Link(self._identities, self._times, target.spki)
        seconds = self._times.connect.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                await loop.create_connection(
                    lambda: link,
                    host,
                    port,
                    ssl=identity.dialler,
                    server_hostname=server_name(target.spki),
                    ssl_handshake_timeout=seconds,
                    ssl_shutdown_timeout=1,
                )
                self.handshakes += 1
                check_peer_leaf(
                    target.realm,
                    Role.MPCS,
                    target.principal,
                    target.spki,
                    link.leaves.facts,
                )
                hello = await link.expect(FrameType.LINK_HELLO)
                link.nonce = read_link_hello(hello.body)
        except BaseException:
            link.close()
            raise
        return link


def _reason(error: FrameworkError | OSError) -> str:
    """Return why dialling failed, without what a library says of our bytes."""
    if isinstance(error, ConfigError | OSError):
        text = error.strerror if isinstance(error, OSError) else str(error)
        return text or type(error).__name__
    return str(error)
