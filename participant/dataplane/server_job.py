"""An MPC server's part of a job: take shares, compute, keep the sealed output."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Final

from participant.dataplane.computation import Computation
from participant.dataplane.frames import MAX_FRAME_BYTES, Frame, FrameType
from participant.dataplane.ipc import Peer
from participant.dataplane.links import Link, PeerAbortedError
from participant.dataplane.order import Order
from participant.dataplane.peers import PeerLinks
from participant.dataplane.transfer import (
    job_error,
    receive_block,
    send_block,
    wait_in_silence,
)
from participant.protocol.ap_exchange import Admission, Client, ServedJob, admit
from shared.crypto.sealing import hpke_seal
from shared.errors import (
    FailureCode,
    FrameworkError,
    JobAbortedError,
    RemoteProtocolError,
)
from shared.messages.link import Limits
from shared.names import Duty, Fingerprint, Principal, Realm, Role
from shared.protocol.machine import Context

MAX_INPUT_BYTES: Final = 64 << 20
"""The longest block that a server takes from a source."""


class ServerJob:
    """Runs once; links come to it from the listener, and it dials other servers."""

    def __init__(self, order: Order) -> None:
        start = order.start
        if start.k_tkt is None or start.party is None:
            raise JobAbortedError("no ticket key", FailureCode.INTERNAL)
        self._order = order
        self._served = ServedJob(
            server=start.me,
            realm=Realm(start.realm),
            fingerprint=Fingerprint(start.fingerprint),
            job=start.job,
            epoch=start.epoch,
            manifest_hash=start.manifest_hash,
            ticket_key=start.k_tkt,
            clients={
                peer.p: _client(peer)
                for peer in start.parties
                if peer.role is Role.CLIENT
            },
        )
        engine = order.question.engine
        self._limits = Limits(
            max_frame=MAX_FRAME_BYTES,
            max_bytes=min(MAX_INPUT_BYTES, engine.max_block_bytes(order.plan)),
        )
        self._sources = frozenset(source.p for source in order.sources)
        # Two small files, read before any link can come.
        self._spent = order.journal.spent()
        self._sealed = order.journal.read_share() if start.fetch_only else None
        self._computation = Computation(order, start.party)
        self._peers = PeerLinks(
            order, start.party, self._computation.relays, self._note, self._lost
        )
        self._inputs: dict[Principal, memoryview] = {}
        self._begun: set[Principal] = set()
        self._linked: set[Principal] = set()
        self._is_linked = False
        self._is_running = False
        self._sessions: dict[Principal, Link] = {}
        self._is_delivered = False
        self._error: JobAbortedError | None = None
        self._wake = asyncio.Event()
        self._over = asyncio.Event()
        self._taken = 0
        self._sent = 0

    def discard(self) -> None:
        """Delete the job's files."""
        self._order.journal.discard()

    def close(self, code: FailureCode) -> None:
        """Abort the links that serve this job and forget its shares."""
        self._fail(JobAbortedError("the job was stopped", code))
        self._over.set()
        self._peers.close(code)
        self._computation.close()
        for link in self._sessions.values():
            link.abort(code)
        self._sessions.clear()
        self._inputs.clear()

    async def run(self) -> None:
        """Do this party's part and report its phases.

        Raises:
            JobAbortedError: it failed; the code and the party say how.
        """
        journal, start = self._order.journal, self._order.start
        if start.fetch_only:
            if self._sealed is None:
                raise JobAbortedError(
                    "no output share of this job is on disk", FailureCode.INTERNAL
                )
            self._over.set()
            self._peers.finish()
        else:
            await self._in_time(start.deadline, self._compute())
        await self._in_time(start.result_exp, self._until(lambda: self._is_delivered))
        await asyncio.to_thread(journal.discard)
        self._progress("delivered")

    async def serve(self, link: Link, frame: Frame) -> None:
        """Do this job on a link that a client or another server dialled.

        Raises:
            FrameworkError: the link is to be closed.
        """
        if self._error is not None or not link.is_open:
            raise RemoteProtocolError("a job or a link that is over")
        if frame.type is FrameType.PEER_HELLO:
            await self._peers.serve(link, frame)
        else:
            await self._serve_client(link, frame)

    # ---- the course of the job ----

    async def _in_time(self, end: int, work: Coroutine[None, None, None]) -> None:
        """Do something before a time, in milliseconds since the Unix epoch."""
        try:
            async with asyncio.timeout(self._order.seconds_until(end)):
                await work
        except TimeoutError as error:
            if self._sealed is not None:
                await asyncio.to_thread(self._order.journal.discard)
                raise JobAbortedError(
                    "nobody fetched the result in time", FailureCode.RESULT_EXPIRED
                ) from error
            party = self._missing_link() or self._missing_input()
            raise JobAbortedError(
                f"the time is over; {party or 'the engine'} is not done",
                FailureCode.DEADLINE,
                party,
            ) from error

    async def _compute(self) -> None:
        """Take all inputs, compute, and put the sealed output share on disk."""
        order, times = self._order, self._order.environment.times
        loop = asyncio.get_running_loop()
        self._peers.dial()
        warming = asyncio.create_task(self._computation.warm())
        timer = loop.call_later(times.linking.total_seconds(), self._check_linked)
        try:
            await self._until(
                lambda: self._missing_input() is None and self._peers.missing() is None
            )
            await warming
        finally:
            timer.cancel()
            warming.cancel()
        share = await self._output_share()
        sealed = hpke_seal(
            order.question.spec.res, order.result_info(order.start.me), share
        )
        await asyncio.to_thread(order.journal.write_share, sealed)
        if self._error is not None:
            raise self._error
        self._sealed = sealed
        self._inputs.clear()
        self._progress("computed")
        self._over.set()
        self._peers.finish()

    async def _output_share(self) -> bytes:
        """Let the engine run; a job that fails meanwhile ends it."""
        blocks = [self._inputs[source.p] for source in self._order.sources]
        running = asyncio.create_task(self._computation.run(blocks))
        running.add_done_callback(lambda _: self._wake.set())
        try:
            await self._until(running.done)
            return await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _until(self, is_reached: Callable[[], bool]) -> None:
        """Wait for a state of this job, or raise why it failed."""
        while not is_reached():
            if self._error is not None:
                raise self._error
            self._wake.clear()
            await self._wake.wait()

    def _progress(self, phase: str) -> None:
        """Report a phase; what servers say to each other counts as data."""
        self._order.progress(
            phase,
            self._taken + self._computation.taken,
            self._sent + self._computation.sent,
        )

    def _note(self) -> None:
        """Look at the job again: something changed."""
        if self._sealed is None:
            if not self._is_linked and self._missing_link() is None:
                self._is_linked = True
                self._progress("linked")
            is_running = self._is_linked and self._begun == self._sources
            if is_running and not self._is_running:
                self._is_running = True
                self._progress("running")
        self._wake.set()

    def _missing_link(self) -> Principal | None:
        """Return a party that has not linked yet."""
        absent = sorted(self._served.clients.keys() - self._linked)
        return self._peers.missing() or next(iter(absent), None)

    def _missing_input(self) -> Principal | None:
        """Return a source whose shares are not here yet."""
        return next(iter(sorted(self._sources - self._inputs.keys())), None)

    def _check_linked(self) -> None:
        """Give up a job that some party does not link for."""
        party = self._missing_link()
        if party is not None:
            self._fail(
                JobAbortedError(
                    f"{party} did not link in time", FailureCode.LINK_FAILED, party
                )
            )

    def _lost(self, party: Principal, error: Exception) -> None:
        """Judge what the loss of a link means."""
        is_served = party in self._inputs and party != self._order.consumer
        if self._sealed is not None or is_served:
            return
        failure = job_error(error, party)
        is_echo = (
            isinstance(error, PeerAbortedError)
            and error.code is not FailureCode.ROSTER_MISMATCH
        )
        if is_echo:
            grace = self._order.environment.times.abort_grace
            loop = asyncio.get_running_loop()
            loop.call_later(grace.total_seconds(), self._fail_late, failure)
        else:
            self._fail(failure)

    def _fail_late(self, error: JobAbortedError) -> None:
        """Fail, unless this server could compute meanwhile."""
        if self._sealed is None:
            self._fail(error)

    def _fail(self, error: JobAbortedError) -> None:
        if self._error is None:
            self._error = error
        self._wake.set()

    # ---- clients ----

    async def _serve_client(self, link: Link, frame: Frame) -> None:
        now = self._order.environment.clock.now()
        admission = admit(
            self._served,
            link.leaves.facts,
            link.nonce,
            frame.body,
            self._spent,
            self._limits,
            Context(now, secrets.token_bytes),
        )
        client = admission.client
        replaced = self._sessions.get(client)
        self._sessions[client] = link
        if replaced is not None:
            replaced.close()
        try:
            link.nonce = admission.next_nonce
            await link.send(FrameType.AP_REP, admission.reply)
            link.begin_job()
            self._linked.add(client)
            self._note()
            await self._exchange(link, admission)
        except FrameworkError as error:
            if self._sessions.get(client) is link:
                del self._sessions[client]
                self._lost(client, error)
            raise
        if self._sessions.get(client) is link:
            del self._sessions[client]
        link.end_job()

    async def _exchange(self, link: Link, admission: Admission) -> None:
        """Take a client's input, give it the output, as its ticket says."""
        client, direction = admission.client, admission.authorisation.dir
        if direction != "out" and self._sealed is None and client not in self._inputs:
            block = await receive_block(
                link, admission.limits.max_bytes, lambda: self._take_first(admission)
            )
            self._taken += len(block)
            self._inputs[client] = block
            self._note()
        elif direction == "in":
            raise RemoteProtocolError("an input that was taken before")
        if direction != "in":
            await self._deliver(link, admission)
        await link.expect(FrameType.DONE)
        await link.send(FrameType.DONE)

    def _take_first(self, admission: Admission) -> None:
        """Spend a ticket for input: its first data are here.

        In memory is enough: a process that ends before it has computed takes no
        input of this job again.
        """
        self._spent |= {admission.ticket_id}
        self._begun.add(admission.client)
        self._note()

    async def _give_first(self, admission: Admission) -> None:
        """Spend a ticket for output, also for the process that comes after this."""
        self._spent |= {admission.ticket_id}
        try:
            await asyncio.to_thread(self._order.journal.spend, admission.ticket_id)
        except OSError as error:
            raise JobAbortedError(
                f"cannot write the journal ({error.strerror})", FailureCode.INTERNAL
            ) from error

    async def _deliver(self, link: Link, admission: Admission) -> None:
        """Send the sealed output share as soon as it is there."""
        await wait_in_silence(link, self._over)
        if self._sealed is None:
            raise RemoteProtocolError("a job that is over")
        await self._give_first(admission)
        await send_block(link, self._sealed)
        self._sent += len(self._sealed)
        await link.expect(FrameType.ACK)
        self._is_delivered = True
        self._wake.set()


def _client(peer: Peer) -> Client:
    return Client(peer.spki, peer.sig_pk, frozenset(Duty(duty) for duty in peer.duties))
