"""A client's part of a job: a source sends shares, the consumer fetches its result."""

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from participant.columns import Values
from participant.dataplane.frames import MAX_FRAME_BYTES, FrameType
from participant.dataplane.ipc import Peer
from participant.dataplane.links import Link, LinkLostError, PeerAbortedError
from participant.dataplane.order import Order
from participant.dataplane.transfer import (
    job_error,
    receive_block,
    send_block,
    together,
)
from participant.protocol.ap_exchange import NONCE_BYTES, Call, check_reply, request
from shared.crypto.keys import KemKey
from shared.crypto.sealing import HPKE_OVERHEAD_BYTES, hpke_open
from shared.errors import (
    CryptoError,
    FailureCode,
    FrameworkError,
    JobAbortedError,
    RemoteProtocolError,
)
from shared.messages.job import ServerTicket
from shared.messages.link import Limits
from shared.names import Duty, Principal

MAX_SHARE_BYTES: Final = 64 << 20
"""The longest sealed output share that a consumer takes."""


@dataclass(slots=True)
class _Session:
    """A link that a server admitted this client on."""

    server: Peer
    link: Link
    limits: Limits


class ClientJob:
    """Runs once.

    Args:
        order: what to do.
        values: at a source, its local sums.
    """

    def __init__(self, order: Order, values: Values | None) -> None:
        self._order = order
        self._start = order.start
        self._tickets: dict[Principal, ServerTicket] = {
            ticket.s: ticket for ticket in order.start.tickets or ()
        }
        is_fetch = order.start.fetch_only
        self._is_source = Duty.INPUT in order.duties and not is_fetch
        self._is_consumer = Duty.OUTPUT in order.duties
        self._values = values
        self._blocks: Sequence[bytes] = ()
        if self._is_source and values is None:
            raise JobAbortedError(
                "the data of this job were not prepared", FailureCode.INTERNAL
            )
        self._links: set[Link] = set()
        self._linked = 0
        self._taken = 0
        self._sent = 0
        self._unfinished: list[Peer] = []
        self._expected = 0
        self._sessions: list[_Session] = []

    @property
    def ends_at(self) -> int:
        """When the job has failed, in milliseconds since the Unix epoch."""
        if not self._start.fetch_only:
            return self._start.deadline
        limit = self._order.environment.times.fetch // timedelta(milliseconds=1)
        return min(self._start.result_exp, self._order.started + limit)

    def discard(self) -> None:
        """Delete the job's files."""
        self._order.journal.discard()

    def close(self, code: FailureCode) -> None:
        """Abort the links that this job still has."""
        for link in self._links:
            link.abort(code)
        self._links.clear()

    async def run(self) -> None:
        """Do this party's part and report its phases.

        Raises:
            JobAbortedError: it failed; the code and the party say how.
        """
        journal = self._order.journal
        if self._is_consumer and await asyncio.to_thread(journal.has_result):
            self._order.progress("delivered", 0, 0)
            return
        if self._is_source:
            await self._share()
        self._unfinished = await self._missing_servers()
        self._expected = len(self._unfinished)
        try:
            async with asyncio.timeout(self._order.seconds_until(self.ends_at)):
                await together(map(self._with_server, self._unfinished))
        except TimeoutError as error:
            server = next(iter(self._unfinished)).p
            raise JobAbortedError(
                f"the time is over; {server} is not done", FailureCode.DEADLINE, server
            ) from error
        if not self._is_consumer:
            self._order.progress("delivered", self._taken, self._sent)
            return
        # Every share is on disk: what happens to the links is of no matter now.
        acknowledging = asyncio.create_task(self._acknowledge())
        try:
            await asyncio.to_thread(self._finish)
            self._order.progress("delivered", self._taken, self._sent)
        finally:
            await acknowledging

    async def _share(self) -> None:
        """Share this source's values; a column's many in a thread, not to block."""
        order, values = self._order, self._values
        self._values = None
        if values is None:
            return
        share = order.question.engine.share
        if order.plan.width is None:
            self._blocks = await asyncio.to_thread(
                share, values, order.plan, secrets.token_bytes
            )
        else:
            self._blocks = share(values, order.plan, secrets.token_bytes)

    async def _acknowledge(self) -> None:
        """Tell the servers that their shares are kept, and end the job on the links."""
        limit = self._order.environment.times.answer
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit.total_seconds()):
                await asyncio.gather(
                    *(self._acknowledge_on(session) for session in self._sessions)
                )

    async def _acknowledge_on(self, session: _Session) -> None:
        with contextlib.suppress(FrameworkError):
            await session.link.send(FrameType.ACK)
            await self._hand_back(session)

    async def _missing_servers(self) -> list[Peer]:
        """Return the servers to talk with: those whose share is not on disk."""
        servers = list(self._order.servers)
        if self._start.fetch_only:
            journal = self._order.journal
            servers = [
                server
                for server in servers
                if await asyncio.to_thread(journal.read_server_share, server.p) is None
            ]
        return servers

    async def _with_server(self, server: Peer) -> None:
        """Do everything that there is to do with one server."""
        session = await self._admitted(server)
        try:
            await self._exchange(session)
        except PeerAbortedError as error:
            if error.code is not FailureCode.ROSTER_MISMATCH:
                grace = self._order.environment.times.abort_grace
                await asyncio.sleep(grace.total_seconds())
            raise job_error(error, server.p) from error
        except FrameworkError as error:
            raise job_error(error, server.p) from error
        self._unfinished = [other for other in self._unfinished if other is not server]

    async def _exchange(self, session: _Session) -> None:
        link, server = session.link, session.server
        self._linked += 1
        if self._linked == self._expected:
            self._order.progress("linked", self._taken, self._sent)
            if self._is_source:
                self._order.progress("running", self._taken, self._sent)
        if self._is_source:
            block = self._blocks[self._order.servers.index(server)]
            if len(block) > session.limits.max_bytes:
                raise JobAbortedError(
                    f"{server.p} takes {session.limits.max_bytes} bytes,"
                    f" the shares have {len(block)}",
                    FailureCode.PARAMETERS,
                    server.p,
                )
            frame_bytes = min(MAX_FRAME_BYTES, max(2, session.limits.max_frame))
            await send_block(link, block, frame_bytes)
            self._sent += len(block)
        if not self._is_consumer:
            await self._hand_back(session)
            return
        share = await receive_block(link, MAX_SHARE_BYTES)
        self._taken += len(share)
        journal = self._order.journal
        await asyncio.to_thread(journal.write_server_share, server.p, share)
        self._sessions.append(session)

    async def _hand_back(self, session: _Session) -> None:
        """End the job on a link and give it to the pool."""
        link = session.link
        await link.send(FrameType.DONE)
        await link.expect(FrameType.DONE)
        self._links.discard(link)
        self._order.environment.pool.give_back(self._order.target(session.server), link)

    async def _admitted(self, server: Peer) -> _Session:
        """Return a link on which the server took the ticket."""
        ticket = self._tickets.get(server.p)
        if ticket is None:
            raise JobAbortedError(
                f"no ticket for {server.p}", FailureCode.INTERNAL, server.p
            )
        start = self._start
        call = Call(
            client=start.me,
            server=server.p,
            job=start.job,
            epoch=start.epoch,
            manifest_hash=start.manifest_hash,
            ticket=ticket.ticket,
            key=ticket.k_cs,
            endorse=start.endorse,
            endorse_sig=start.endorse_sig,
        )
        pool, target = self._order.environment.pool, self._order.target(server)
        try:
            return await pool.begin(target, lambda link: self._ask(call, server, link))
        except PeerAbortedError as error:
            raise JobAbortedError(
                f"{server.p} does not admit this party", error.code, server.p
            ) from error
        except (LinkLostError, RemoteProtocolError, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            raise JobAbortedError(
                f"no link with {server.p}: {reason}", FailureCode.LINK_FAILED, server.p
            ) from error

    async def _ask(self, call: Call, server: Peer, link: Link) -> _Session:
        """Do the AP exchange on a link."""
        self._links.add(link)
        facts, nonce = link.leaves.facts, secrets.token_bytes(NONCE_BYTES)
        limit = self._order.environment.times.answer
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await link.send(
                    FrameType.AP_REQ, request(call, facts, link.nonce, nonce)
                )
                reply = await link.expect(FrameType.AP_REP)
            answer = check_reply(call, facts, link.nonce, nonce, reply.body)
        except BaseException:
            self._links.discard(link)
            link.close()
            raise
        link.nonce = answer.next_nonce
        link.begin_job()
        return _Session(server, link, answer.limits)

    def _finish(self) -> None:
        """Open the shares on disk and write the result; runs in a thread."""
        start, order = self._start, self._order
        if start.result_key is None:
            raise JobAbortedError("no result key", FailureCode.INTERNAL)
        key = KemKey.from_bytes(start.result_key)
        shares = []
        for server in order.servers:
            sealed = order.journal.read_server_share(server.p)
            if sealed is None or len(sealed) < HPKE_OVERHEAD_BYTES:
                raise _unusable(server.p)
            try:
                shares.append(hpke_open(key, order.result_info(server.p), sealed))
            except CryptoError as error:
                order.journal.drop_server_share(server.p)
                raise _unusable(server.p) from error
        question = order.question
        totals = question.engine.reconstruct(shares, order.plan)
        order.journal.write_result(
            {
                "job": start.job.hex(),
                "number": start.number,
                "statistic": question.statistic.name,
                "columns": list(question.params.columns),
                "target": question.params.target,
                "result": question.statistic.finish(totals, question.params),
            }
        )
        order.journal.drop_server_shares()


def _unusable(server: Principal) -> JobAbortedError:
    return JobAbortedError(
        f"the output share of {server} is not one of this job",
        FailureCode.ENGINE,
        server,
    )
