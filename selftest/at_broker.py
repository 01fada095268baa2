"""Attempts at the broker, with a participant's own user."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from manager.broker.access import BrokerAccess
from manager.broker.admin import BrokerAdmin
from manager.broker.credentials import Credential
from participant.service.running import connect
from selftest.attempt import Attempt, judged, not_tried
from selftest.visitor import Visitor
from shared import topology
from shared.errors import TransportError
from shared.messages import JobQuery
from shared.transport.base import Transport

AT: Final = "broker"
REFUSED: Final = "refused"
_WAIT_SECONDS: Final = 10.0
_HEADER: Final = b"AMQP\x00\x00\x09\x01"

Act = Callable[[Transport], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class BrokerAttempts:
    """What a broker user of a participant may try.

    ``other``: somebody else's inbox.
    """

    visitor: Visitor
    access: BrokerAccess
    other: str

    async def run(self) -> list[Attempt]:
        """Try everything, each on a connection of its own."""
        attempts: Sequence[tuple[str, Act]] = (
            ("to read somebody else's inbox", lambda way: way.consume(self.other)),
            ("to read the manager's queue", self._manager_queue),
            ("to write into somebody's inbox", self._inbox),
            ("to write under another's routing key", self._key),
            ("to write in another user's name", self._user),
            ("a message of 2 MiB", self._large),
        )
        made = [
            judged(AT, tried, REFUSED, await self._seen(act)) for tried, act in attempts
        ]
        made.append(
            judged(AT, "a wrong password", REFUSED, await self._wrong_password())
        )
        admin = await asyncio.to_thread(self._administer)
        made.append(judged(AT, "a participant at the management API", REFUSED, admin))
        made.append(await self._without_tls())
        return made

    async def _seen(self, act: Act) -> str:
        transport = connect(self.visitor.identity.broker)
        await transport.connect()
        try:
            await act(transport)
        except TransportError:
            return REFUSED
        finally:
            await transport.close()
        return "allowed"

    async def _manager_queue(self, way: Transport) -> None:
        await way.consume(topology.QUEUE_JOBS)

    async def _inbox(self, way: Transport) -> None:
        await self._publish(
            way, exchange=topology.PARTICIPANTS_EXCHANGE, routing_key=self.other
        )

    async def _key(self, way: Transport) -> None:
        await self._publish(way, routing_key="jobs.MPC_server_001")

    async def _user(self, way: Transport) -> None:
        await self._publish(way, user_id="manager")

    async def _large(self, way: Transport) -> None:
        honest = self.visitor.outgoing(self.visitor.sealed(JobQuery()))
        await way.publish([replace(honest, body=bytes(2 << 20))])

    async def _publish(self, way: Transport, **properties: str) -> None:
        body = self.visitor.sealed(JobQuery())
        await way.publish([self.visitor.outgoing(body, **properties)])

    async def _wrong_password(self) -> str:
        login = replace(self.visitor.identity.broker, password=secrets.token_hex())
        transport = connect(login)
        try:
            await transport.connect()
        except TransportError:
            return REFUSED
        finally:
            await transport.close()
        return "let in"

    def _administer(self) -> str:
        broker = self.visitor.identity.broker
        login = Credential(broker.user, broker.password)
        admin = BrokerAdmin(
            self.access.management_url,
            login,
            self.access.vhost,
            context=self.access.tls(),
        )
        with admin:
            try:
                admin.queue_counts()
            except TransportError:
                return REFUSED
        return "answered"

    async def _without_tls(self) -> Attempt:
        tried = "AMQP without TLS"
        url = urlsplit(self.access.amqp_url)
        if url.scheme != "amqps":
            return not_tried(AT, tried, "this broker is reached without TLS")
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        heard = b""
        try:
            writer.write(_HEADER)
            async with asyncio.timeout(_WAIT_SECONDS):
                heard = await reader.read()
        except TimeoutError:
            return judged(AT, tried, REFUSED, "kept open")
        except ConnectionError:
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        is_amqp = heard[:1] == b"\x01" or heard.startswith(b"AMQP")
        return judged(AT, tried, REFUSED, "answered" if is_amqp else REFUSED)
