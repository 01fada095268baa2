"""The links between the MPC servers of one job."""

import asyncio
from collections.abc import Callable, Mapping

from participant.dataplane.frames import Frame, FrameType
from participant.dataplane.ipc import Peer
from participant.dataplane.links import Link, PeerAbortedError
from participant.dataplane.order import Order
from participant.dataplane.relay import Relay
from participant.dataplane.transfer import wait_in_silence
from participant.protocol.peer_hello import (
    PeeredJob,
    Server,
    check_peer_hello,
    peer_hello,
)
from shared.errors import (
    FailureCode,
    FrameworkError,
    JobAbortedError,
    RemoteProtocolError,
)
from shared.names import Principal, Realm


class PeerLinks:
    """One link with each other server; the lower party index dials.

    Args:
        order: the job.
        party: this server's index.
        relays: for an engine that talks to its peers, a channel to each by index.
        on_change: called when a link stands.
        on_loss: called when a link with a server is lost or cannot be had.
    """

    def __init__(
        self,
        order: Order,
        party: int,
        relays: Mapping[int, Relay],
        on_change: Callable[[], None],
        on_loss: Callable[[Principal, Exception], None],
    ) -> None:
        start = order.start
        self._order = order
        self._on_change = on_change
        self._on_loss = on_loss
        self._job = PeeredJob(
            party=party,
            realm=Realm(start.realm),
            job=start.job,
            epoch=start.epoch,
            manifest_hash=start.manifest_hash,
            servers={
                index: Server(server.p, server.spki)
                for index, server in enumerate(order.servers)
            },
        )
        self._party = party
        self._relays = relays
        self._links: dict[int, Link] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = asyncio.Event()
        self._is_computed = False

    def dial(self) -> None:
        """Begin to link with the servers of higher index."""
        self._tasks = [
            asyncio.create_task(self._with(index, server))
            for index, server in enumerate(self._order.servers)
            if index > self._party
        ]

    def missing(self) -> Principal | None:
        """Return a server that there is no link with yet."""
        for index, server in enumerate(self._order.servers):
            if index != self._party and index not in self._links:
                return server.p
        return None

    def finish(self) -> None:
        """Let the links go: this server has computed."""
        self._is_computed = True
        self._is_over.set()

    def close(self, code: FailureCode) -> None:
        """Abort every link that still serves this job."""
        self._is_over.set()
        for task in self._tasks:
            task.cancel()
        for link in self._links.values():
            link.abort(code)
        self._links.clear()

    async def serve(self, link: Link, frame: Frame) -> None:
        """Do this job on a link that another server dialled.

        Raises:
            FrameworkError: the link is to be closed.
        """
        if self._is_over.is_set():
            raise RemoteProtocolError("a peer.hello for a job that is over")
        try:
            party = check_peer_hello(
                self._job, link.leaves.facts, frame.body, expected=None
            )
        except JobAbortedError as error:
            link.abort(error.code)
            self._on_loss(Principal(error.party or ""), error)
            raise
        replaced = self._links.get(party)
        if replaced is not None and party in self._relays:
            raise RemoteProtocolError("a second link where data may be under way")
        self._links[party] = link
        if replaced is not None:
            replaced.close()
        try:
            await link.send(FrameType.PEER_HELLO, peer_hello(self._job, party))
            link.begin_job()
            self._on_change()
            await self._carry(party, link)
            await link.expect(FrameType.DONE)
            await self._is_over.wait()
            await link.send(FrameType.DONE)
        except FrameworkError as error:
            if self._links.get(party) is link:
                self._on_loss(self._order.servers[party].p, error)
            raise
        link.end_job()
        if self._links.get(party) is link:
            del self._links[party]

    async def _with(self, party: int, server: Peer) -> None:
        """Do this job on a link that this server dials."""
        try:
            link = await self._greeted(party, server)
        except (FrameworkError, TimeoutError) as error:
            self._on_loss(server.p, _not_linked(server.p, error))
            return
        self._links[party] = link
        link.begin_job()
        self._on_change()
        try:
            await self._carry(party, link)
            await wait_in_silence(link, self._is_over)
            await link.send(FrameType.DONE)
            await link.expect(FrameType.DONE)
        except FrameworkError as error:
            self._on_loss(server.p, error)
            return
        del self._links[party]
        self._order.environment.pool.give_back(self._order.target(server), link)

    async def _carry(self, party: int, link: Link) -> None:
        """Carry the engine's messages, if it has any, until both sides computed."""
        relay = self._relays.get(party)
        if relay is not None:
            await relay.carry(link)

    async def _greeted(self, party: int, server: Peer) -> Link:
        """Return a link on which both hellos were checked."""
        pool, target = self._order.environment.pool, self._order.target(server)
        return await pool.begin(target, lambda link: self._greet(party, link))

    async def _greet(self, party: int, link: Link) -> Link:
        limit = self._order.environment.times.answer
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await link.send(FrameType.PEER_HELLO, peer_hello(self._job, party))
                answer = await link.expect(FrameType.PEER_HELLO)
            check_peer_hello(self._job, link.leaves.facts, answer.body, expected=party)
        except JobAbortedError as error:
            link.abort(error.code)
            raise
        except BaseException:
            link.close()
            raise
        return link


def _not_linked(server: Principal, error: Exception) -> JobAbortedError:
    """Return what it means for the job that there is no link with a server."""
    if isinstance(error, JobAbortedError):
        return error
    if isinstance(error, PeerAbortedError):
        return JobAbortedError(
            f"{server} does not link for this job", error.code, server
        )
    return JobAbortedError(
        f"no link with {server}: {str(error) or 'no answer in time'}",
        FailureCode.LINK_FAILED,
        server,
    )
