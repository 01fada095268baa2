"""AMQP 0-9-1 over pika: the only module that knows the library.

One connection with a channel for publishing (with confirms), one for each queue
consumed from (so that the end of one is not the end of another), and a short one
for each question.
"""

import asyncio
import logging
import ssl
import struct
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from pika import (
    BasicProperties,
    ConnectionParameters,
    DeliveryMode,
    PlainCredentials,
    exceptions,
)
from pika import SSLOptions as TlsOptions
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.frame import Frame, Header, Method, ProtocolHeader, decode_frame
from pika.spec import Basic, Confirm, Queue

from shared.errors import TransportError
from shared.transport import problems
from shared.transport.answers import bounded, fail, new_future, resolve
from shared.transport.base import (
    Delivery,
    Outgoing,
    RefusedByBrokerError,
    UnreachableError,
)
from shared.transport.confirms import Attempt, Confirms
from shared.transport.endpoint import Endpoint, Nodes
from shared.transport.link import Link, LinkOwner, Source
from shared.transport.reconnecting import ReconnectingTransport
from shared.transport.subscription import Subscription

DEFAULT_PREFETCH = 32
DEFAULT_HEARTBEAT = timedelta(seconds=30)
CONNECT_TIMEOUT = timedelta(seconds=10)
PUBLISH_TIMEOUT = timedelta(seconds=30)
CLOSE_TIMEOUT = timedelta(seconds=3)
TCP_OPTIONS: Final = {
    "TCP_KEEPIDLE": 4,
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 10_000,
}
"""A node whose host is gone says nothing: it is left after 10 s, long before a
heartbeat is missed. Seconds, a count, and milliseconds."""
MAX_PROPERTIES_BYTES = 16 * 1024
"""Longer message properties are not read."""

_HEADER_FRAME = b"\x02"
_FRAME_OVERHEAD_BYTES = 8
_BODY_SIZE_OFFSET = 11
_BAD_VALUE = (ArithmeticError, LookupError, OSError, TypeError, ValueError)
_UNREADABLE = (*_BAD_VALUE, exceptions.AMQPError, RecursionError, struct.error)

_log = logging.getLogger(__name__)
# pika logs every failure, often with a traceback; all of them are raised by us.
logging.getLogger("pika").setLevel(logging.CRITICAL)


class AmqpTransport(ReconnectingTransport):
    """A ``Transport`` to RabbitMQ.

    Args:
        broker: ``amqp[s]://host[:port]``, the nodes of a cluster with commas between;
            or nodes that other transports use too.
        user: the broker user.
        password: its password.
        vhost: the realm's vhost.
        connection_name: what the management UI shows.
        prefetch: most unacknowledged deliveries a queue.
        ssl_context: for ``amqps``; the system's authorities if none is given.
        heartbeat: in whole seconds; a silent peer counts as gone after two of them
            and 10 s.
        connect_timeout: for one node, TCP, TLS and login together.
        publish_timeout: until every message of a batch is confirmed.

    Raises:
        ConfigError: the url is not usable.
    """

    def __init__(
        self,
        broker: str | Nodes,
        user: str,
        password: str,
        vhost: str,
        connection_name: str,
        *,
        prefetch: int = DEFAULT_PREFETCH,
        ssl_context: ssl.SSLContext | None = None,
        heartbeat: timedelta = DEFAULT_HEARTBEAT,
        connect_timeout: timedelta = CONNECT_TIMEOUT,
        publish_timeout: timedelta = PUBLISH_TIMEOUT,
    ) -> None:
        super().__init__(self._open_next, publish_timeout)
        self._name = connection_name
        self._prefetch = prefetch
        self._limit = connect_timeout
        self._nodes = Nodes(broker, vhost) if isinstance(broker, str) else broker
        seconds = connect_timeout.total_seconds()
        self._parameters = partial(
            ConnectionParameters,
            virtual_host=vhost,
            credentials=PlainCredentials(user, password),
            heartbeat=max(1, round(heartbeat.total_seconds())),
            connection_attempts=1,
            socket_timeout=seconds,
            stack_timeout=seconds,
            client_properties={"connection_name": connection_name},
            tcp_options=TCP_OPTIONS,
        )
        self._tls = ssl_context

    async def _open_next(self, owner: LinkOwner) -> Link:
        """Return a link to the first node that answers; the last good one first."""
        for _ in range(len(self._nodes) - 1):
            node = self._nodes.first
            try:
                return await self._open(owner, node)
            except UnreachableError:
                self._nodes.leave(node)
        return await self._open(owner, self._nodes.first)

    async def _open(self, owner: LinkOwner, node: Endpoint) -> Link:
        link = _AmqpLink(owner, self._name, self._prefetch)
        parameters = self._parameters(
            host=node.host, port=node.port, ssl_options=_tls(node, self._tls)
        )
        await link.open(parameters, self._limit)
        return link


def _tls(endpoint: Endpoint, context: ssl.SSLContext | None) -> TlsOptions | None:
    if not endpoint.is_tls:
        return None
    return TlsOptions(context or ssl.create_default_context(), endpoint.host)


class _Connection(AsyncioConnection):
    """pika's connection, made safe against what a publisher can put in properties.

    pika raises while it decodes some values that RabbitMQ passes on (a NaN, a
    date in the year 10^12, a table nested 500 deep), which would end the
    connection, again at every redelivery. Such properties are taken for absent:
    without ``user_id`` the receiver drops the message.
    """

    _frame_buffer: bytes

    def _read_frame(self) -> tuple[int, Frame | ProtocolHeader | None]:
        buffer = self._frame_buffer
        if buffer[:1] != _HEADER_FRAME or len(buffer) < _FRAME_OVERHEAD_BYTES:
            return decode_frame(buffer)
        _, channel, size = struct.unpack_from(">BHL", buffer)
        end = size + _FRAME_OVERHEAD_BYTES
        if len(buffer) < end:
            return 0, None
        try:
            if size <= MAX_PROPERTIES_BYTES:
                return decode_frame(buffer)
        except _UNREADABLE as error:
            _log.debug("unreadable properties", extra={"reason": type(error).__name__})
        (body_bytes,) = struct.unpack_from(">Q", buffer, _BODY_SIZE_OFFSET)
        return end, Header(channel, body_bytes, BasicProperties())

    def abort(self) -> None:
        """Drop the TCP connection now."""
        self._terminate_stream(  # type: ignore[attr-defined]  # no public abort
            exceptions.StreamLostError("aborted by this program")
        )


class _AmqpLink:
    """One connection and its channels; implements ``Link``."""

    def __init__(self, owner: LinkOwner, name: str, prefetch: int) -> None:
        self._owner = owner
        self._name = name
        self._prefetch = prefetch
        self._connection: _Connection | None = None
        self._ended: asyncio.Future[BaseException | None] = new_future()
        self._publisher: Channel | None = None
        self._confirms = Confirms()

    async def open(self, parameters: ConnectionParameters, limit: timedelta) -> None:
        """Connect and log in.

        Raises:
            CredentialsRefusedError: the broker refuses user, password or vhost.
            UnreachableError: there was no answer.
        """
        opened: asyncio.Future[BaseException | None] = new_future()
        self._connection = _Connection(
            parameters,
            on_open_callback=lambda _: resolve(opened, None),
            on_open_error_callback=lambda _, error: resolve(self._ended, error),
            on_close_callback=self._on_closed,
            custom_ioloop=asyncio.get_running_loop(),
        )
        try:
            await asyncio.wait(
                [opened, self._ended],
                timeout=(limit + CLOSE_TIMEOUT).total_seconds(),  # pika keeps limit
                return_when=asyncio.FIRST_COMPLETED,
            )
        except asyncio.CancelledError:
            await self.close()
            raise
        if not opened.done():
            await self.close()
            error = self._ended.result() if self.is_gone else None
            raise _connect_problem(error or TimeoutError(), parameters)

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closed or broken."""
        return self._ended.done()

    async def write(
        self, messages: Sequence[Outgoing]
    ) -> tuple[Attempt, asyncio.Future[None]]:
        """Write the messages at once, mandatory and persistent."""
        channel = self._publisher
        if channel is None or not channel.is_open:
            channel = await self._open_publisher()
        return self._confirms.attempt(messages, partial(_write, channel))

    async def consume(self, queue: str, deliver: Callable[[Delivery], None]) -> Source:
        """Start to consume on a channel of its own."""
        channel = await self._open_channel()
        subscription = Subscription(queue, channel)
        started: asyncio.Future[None] = new_future()

        def on_closed(_: Channel, error: Exception) -> None:
            subscription.closed.set()
            if not fail(started, _channel_problem(error)):
                self._owner.source_lost(subscription, str(error))

        def on_message(
            _: Channel,
            method: Basic.Deliver,
            properties: BasicProperties,
            body: bytes,
        ) -> None:
            headers = properties.headers or {}
            deliver(
                Delivery(
                    queue=queue,
                    body=body,
                    user_id=properties.user_id,
                    has_copies="CC" in headers or "BCC" in headers,
                    redelivered=method.redelivered,
                    tag=subscription.note(method.delivery_tag or 0),
                    routing_key=method.routing_key or "",
                    message_type=properties.type,
                )
            )

        channel.add_on_close_callback(on_closed)
        channel.add_on_cancel_callback(lambda _: subscription.end())
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.basic_consume(
            queue,
            on_message,
            consumer_tag=self._name,
            callback=lambda _: resolve(started, None),
        )
        try:
            await bounded(started)
        finally:
            if started.cancelled():  # no answer in time, or the caller gave up
                subscription.end()
        return subscription

    async def consumer_count(self, queue: str) -> int | None:
        """Ask with a passive declare, on a channel that may break."""
        channel = await self._open_channel()
        answer: asyncio.Future[Method[Queue.DeclareOk]] = new_future()
        channel.add_on_close_callback(
            lambda _, error: fail(answer, _channel_problem(error))
        )
        channel.queue_declare(queue, passive=True, callback=partial(resolve, answer))
        try:
            return (await bounded(answer)).method.consumer_count
        except RefusedByBrokerError as error:
            match error.__cause__:
                case exceptions.ChannelClosedByBroker(reply_code=404):  # NOT_FOUND
                    return None
                case _:
                    raise
        finally:
            if channel.is_open:
                channel.close()

    async def close(self) -> None:
        """Close in good order, or by force after a while."""
        connection = self._connection
        if connection is None or connection.is_closed:
            return
        if not connection.is_closing:
            connection.close()
        await asyncio.wait([self._ended], timeout=CLOSE_TIMEOUT.total_seconds())
        if not self.is_gone:
            connection.abort()
            await asyncio.wait([self._ended], timeout=CLOSE_TIMEOUT.total_seconds())

    def _on_closed(self, _: AsyncioConnection, error: BaseException) -> None:
        resolve(self._ended, error)
        self._owner.link_lost(self, str(error) or type(error).__name__)

    async def _open_channel(self) -> Channel:
        opened: asyncio.Future[Channel] = new_future()
        if self._connection is None or not self._connection.is_open:
            raise problems.link_lost("it is closed")
        channel = self._connection.channel(on_open_callback=partial(resolve, opened))
        channel.add_on_close_callback(
            lambda _, error: fail(opened, _channel_problem(error))
        )
        return await bounded(opened)

    async def _open_publisher(self) -> Channel:
        channel = await self._open_channel()
        selected: asyncio.Future[Method[Confirm.SelectOk]] = new_future()

        def on_closed(_: Channel, error: Exception) -> None:
            problem = _channel_problem(error)
            if not fail(selected, problem):
                self._confirms.fail(problem)

        channel.add_on_close_callback(on_closed)
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, partial(resolve, selected))
        await bounded(selected)
        self._publisher = channel
        self._confirms = Confirms()
        return channel

    def _on_return(
        self,
        _: Channel,
        method: Basic.Return,
        properties: BasicProperties,
        _body: bytes,
    ) -> None:
        self._confirms.returned(
            method.exchange, method.routing_key, properties.message_id
        )

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        self._confirms.settle(
            frame.method.delivery_tag,
            multiple=frame.method.multiple,
            accepted=isinstance(frame.method, Basic.Ack),
        )


def _write(channel: Channel, message: Outgoing) -> None:
    channel.basic_publish(
        message.exchange,
        message.routing_key,
        message.body,
        _properties(message),
        mandatory=True,
    )


def _properties(message: Outgoing) -> BasicProperties:
    expiration = message.expiration_ms
    return BasicProperties(
        content_type="application/octet-stream",
        delivery_mode=DeliveryMode.Persistent.value,
        correlation_id=message.correlation_id,
        expiration=None if expiration is None else str(expiration),
        message_id=message.message_id,
        timestamp=message.timestamp,
        type=message.type,
        user_id=message.user_id,
        app_id=message.app_id,
    )


def _channel_problem(error: Exception) -> TransportError:
    if not isinstance(error, exceptions.ChannelClosedByBroker):
        return problems.link_lost(str(error))
    problem = problems.operation_refused(error.reply_text)
    problem.__cause__ = error
    return problem


def _connect_problem(
    error: BaseException, parameters: ConnectionParameters
) -> TransportError:
    where = f"{parameters.host}:{parameters.port}"
    if isinstance(error, exceptions.ProbableAccessDeniedError):
        return problems.vhost_refused(where, parameters.virtual_host)
    if isinstance(
        error, exceptions.AuthenticationError | exceptions.ProbableAuthenticationError
    ):
        return problems.login_refused(where)
    return problems.unreachable(where, error)
