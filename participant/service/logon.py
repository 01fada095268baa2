"""Logging on: the AS exchange as it happens, again before each session ends."""

import asyncio
import logging
from datetime import timedelta
from typing import Protocol

from participant.protocol import as_exchange
from participant.protocol.as_exchange import Asking, Sessions
from participant.protocol.identity import Identity
from participant.service.data_keeper import DataKeeper
from participant.service.session import Mail, Outstanding
from shared.errors import (
    AuthenticationError,
    ErrorCode,
    FrameworkError,
    TransportError,
)
from shared.messages import AsReply, ErrorNotice, SignedCertificate
from shared.protocol.machine import Context
from shared.transport.base import Publication, Transport
from shared.transport.endpoint import Backoff

RETRY_FIRST = timedelta(milliseconds=500)
RETRY_LONGEST = timedelta(seconds=30)

_log = logging.getLogger(__name__)


class SupersededError(AuthenticationError):
    """Another process of this identity has logged on."""


class NotKnownError(AuthenticationError):
    """The manager does not know this participant, or not yet."""


class LogonWorld(Protocol):
    """What logging on needs of the process around it."""

    def identity(self) -> Identity:
        """Return the identity as it is now."""
        ...

    def context(self) -> Context:
        """Return time and entropy."""
        ...

    def addresses(self) -> tuple[str, ...]:
        """Return where this participant is reached by others, if it is."""
        ...

    async def not_known(self) -> None:
        """Do what can be done when the manager does not know this participant."""
        ...

    async def logged_on(self, cert: SignedCertificate | None) -> None:
        """Take note of the new session, and of a newer certificate."""
        ...


class Logon:
    """Keeps a session with the manager.

    Args:
        transport: to the broker.
        mail: where the sessions are.
        data: makes TLS keys.
        world: the process around.
        reply_timeout: how long the manager may take.
    """

    def __init__(
        self,
        transport: Transport,
        mail: Mail,
        data: DataKeeper,
        world: LogonWorld,
        reply_timeout: timedelta,
    ) -> None:
        self._transport = transport
        self._mail = mail
        self._data = data
        self._world = world
        self._reply_timeout = reply_timeout
        self._asking: Asking | None = None
        self._reply: asyncio.Future[AsReply] | None = None
        self._again = asyncio.Event()
        self.problem: FrameworkError | None = None
        """Why there is no session, for people; ``None`` while there is one."""

    def again(self) -> None:
        """Log on anew: the session or its TLS key is of no use any more."""
        self._again.set()

    async def run(self) -> None:
        """Keep a session until cancelled."""
        backoff = Backoff(RETRY_FIRST, RETRY_LONGEST)
        while True:
            self._again.clear()
            await self._transport.connected.wait()
            try:
                await self._log_on()
            except (TimeoutError, FrameworkError) as error:
                self._note(error)
                if isinstance(error, NotKnownError):
                    await self._world.not_known()
                await asyncio.sleep(backoff.next_seconds())
                continue
            backoff.reset()
            self.problem = None
            await self._wait_for_renewal()

    def replied(self, reply: AsReply) -> None:
        """Take the answer to the request that is under way, if there is one."""
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)

    def refused(self, notice: ErrorNotice, answered: Outstanding) -> None:
        """Take an ``err`` about this participant's standing.

        Raises:
            SupersededError: another process of this identity took over.
        """
        if answered.type == "as.req":
            if self._reply is not None and not self._reply.done():
                self._reply.set_exception(self._error(notice))
            return
        current = self._mail.sessions.current
        # What was sent in an older session of ours says nothing about this one.
        if current is None or answered.sid != current.sid:
            return
        if notice.code is ErrorCode.SUPERSEDED:
            raise SupersededError(
                f"another process has logged on as {self._world.identity().principal}",
                "only one may run; if it was not you, ask the operator to revoke"
                " this participant and register anew",
            )
        if notice.code is ErrorCode.UNKNOWN_SESSION:
            _log.warning("session unknown to the manager, logging on again")
            self._mail.sessions = Sessions()
            self.again()

    async def _log_on(self) -> None:
        identity = self._world.identity()
        tls = await self._data.new_tls_key(identity.principal)
        asking = as_exchange.ask(
            identity, tls, self._world.addresses(), self._world.context()
        )
        reply = await self._exchange(asking)
        context = self._world.context()
        # A newer descriptor of the realm may have come before the answer.
        identity = self._world.identity()
        session, cert = as_exchange.accept(asking, identity, reply, context)
        await self._data.use_leaf(session, identity.realm.name)
        self._mail.sessions = self._mail.sessions.with_session(session, context.now_ms)
        _log.info(
            "session began",
            extra={
                "principal": identity.principal,
                "session_id": session.sid.hex(),
                "ends_ms": session.exp,
            },
        )
        await self._world.logged_on(cert)

    async def _exchange(self, asking: Asking) -> AsReply:
        self._reply = asyncio.get_running_loop().create_future()
        try:
            request = self._mail.seal(asking.request, is_sessionless=True)
            async with asyncio.timeout(self._reply_timeout.total_seconds()):
                if await self._transport.publish([request]) != [Publication.CONFIRMED]:
                    raise TransportError(
                        "the manager's queue is not there",
                        "see whether 'mpc-manager run' has prepared the broker",
                    )
                return await self._reply
        finally:
            if self._reply.done() and not self._reply.cancelled():
                self._reply.exception()  # looked at, so that nobody complains
            self._reply = None

    async def _wait_for_renewal(self) -> None:
        session = self._mail.sessions.current
        if session is None:
            return
        wait_ms = max(0, session.renew_at - self._world.context().now_ms)
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._again.wait()
        except TimeoutError:
            _log.info("session to be renewed")

    def _error(self, notice: ErrorNotice) -> FrameworkError:
        if notice.code is ErrorCode.EXPIRED and notice.now is not None:
            return as_exchange.skew(notice.now, self._world.context().now_ms)
        if notice.code is ErrorCode.UNAUTHENTICATED:
            return NotKnownError(
                "the manager does not let this participant in",
                "its registration may be incomplete or revoked; ask the operator"
                " whether 'mpc-manager participants list' shows it as active",
            )
        return AuthenticationError(
            f"the manager refuses to log this participant on: {notice.code}"
        )

    def _note(self, error: TimeoutError | FrameworkError) -> None:
        if isinstance(error, TimeoutError):
            error = TransportError(
                "the manager does not answer",
                "see whether 'mpc-manager run' runs, and that no other process works"
                " as this participant with a copy of its home",
            )
        self.problem = error
        _log.warning("not logged on", extra={"reason": str(error), "hint": error.hint})
