"""What the manager makes and removes at the broker: topology, users, inboxes.

Every call blocks for some milliseconds (a whole participant about 40): the
service runs them in a thread. Every call may be repeated; a crash between two
steps is repaired by calling again. A user is made last and removed first, so
nobody is let in before its limits stand.
"""

import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from manager.broker.api import DEFAULT_TIMEOUT, ManagementApi
from manager.broker.credentials import Credential
from manager.broker.health import Snapshot, take_snapshot
from shared.errors import TransportError
from shared.names import Principal, Realm, Role, TokenId
from shared.topology import (
    ADMIN_PERMISSIONS,
    BINDINGS,
    EXCHANGES,
    MANAGER_EXCHANGE,
    QUEUES,
    Binding,
    Permissions,
    Queue,
    User,
    binding_of,
    enrolment_permissions,
    enrolment_queue,
    enrolment_user,
    inbox,
    participant_permissions,
)

PATIENCE = timedelta(seconds=10)
"""The broker takes up to five seconds until it knows a connection by its name."""
_LOOK = timedelta(milliseconds=200)
_QUEUE_COLUMNS = "name,messages_ready,messages_unacknowledged,consumers,state"


@dataclass(frozen=True, slots=True)
class QueueCount:
    """What waits in one queue; the numbers are some seconds old."""

    name: str
    ready: int
    unacknowledged: int
    consumers: int
    state: str


@dataclass(frozen=True, slots=True)
class BrokerOverview:
    """What the broker says of itself."""

    rabbitmq_version: str
    erlang_version: str
    cluster_name: str
    node: str
    connections: int
    queues: int
    messages: int


class BrokerAdmin:
    """The broker's administrator, for one realm.

    Args:
        url: of the management API, ``http[s]://host:port``.
        credential: a broker user with the tag ``administrator``.
        vhost: the realm.
        timeout: of each step of a request.
        context: for ``https``; trusts the system's authorities unless given.

    Raises:
        ConfigError: the url is malformed.
    """

    def __init__(
        self,
        url: str,
        credential: Credential,
        vhost: Realm,
        timeout: timedelta = DEFAULT_TIMEOUT,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._api = ManagementApi(url, credential, timeout, context)
        self._user = credential.user
        self._vhost = vhost

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._api.close()

    def apply(self, users: Sequence[User] = ()) -> None:
        """Make the vhost, the topology and these users, or see that they stand.

        Raises:
            TransportError: the broker is not there, refuses, or holds one of the
                names with other settings; what was made so far stays.
        """
        self._api.put("vhosts", self._vhost, body={})
        self._permit(self._user, ADMIN_PERMISSIONS)
        for exchange in EXCHANGES:
            self._api.put(
                "exchanges",
                self._vhost,
                exchange.name,
                body={
                    "type": exchange.type.value,
                    "durable": True,
                    "auto_delete": False,
                    "internal": False,
                    "arguments": dict(exchange.arguments),
                },
            )
        for queue in QUEUES:
            self._declare(queue)
        for binding in BINDINGS:
            self._bind(binding)
        for user in users:
            self._make_user(user)

    def create_enrolment(self, token_id: TokenId, password_hash: str) -> None:
        """Let the holder of a token in, to register and nothing else.

        Args:
            token_id: of the token.
            password_hash: RabbitMQ's, of the password that the token implies.

        Raises:
            TransportError: the broker is not there or refuses.
        """
        queue = enrolment_queue(token_id)
        self._declare(queue)
        self._bind(binding_of(queue))
        self._make_user(
            User(
                enrolment_user(token_id), password_hash, enrolment_permissions(token_id)
            )
        )

    def delete_enrolment(self, token_id: TokenId) -> None:
        """Remove a token's user and queue; its connections close at once.

        Raises:
            TransportError: the broker is not there or refuses.
        """
        self._api.delete("users", enrolment_user(token_id))
        self._api.delete("queues", self._vhost, enrolment_queue(token_id).name)

    def create_participant(
        self, principal: Principal, role: Role, password_hash: str
    ) -> None:
        """Give a participant its inbox and its broker user.

        Raises:
            TransportError: the broker is not there or refuses.
        """
        queue = inbox(principal, role)
        self._declare(queue)
        self._bind(binding_of(queue))
        self._make_user(
            User(principal, password_hash, participant_permissions(principal, role))
        )

    def delete_participant(self, principal: Principal, role: Role) -> None:
        """Remove a participant's user and inbox; its connections close at once.

        Raises:
            TransportError: the broker is not there or refuses.
        """
        self._api.delete("users", principal)
        self._api.delete("queues", self._vhost, inbox(principal, role).name)

    def disconnect(self, user: str, patience: timedelta = PATIENCE) -> None:
        """Close the connections that a user has to the vhost, those of now.

        What they have not acknowledged goes back to its queue. A connection that was
        made a moment ago cannot be closed yet: it is tried again.

        Raises:
            TransportError: the broker is not there, refuses, or one stays open.
        """
        deadline = time.monotonic() + patience.total_seconds()
        left = self._connections(user)
        while left:
            for name in left:
                self._api.delete("connections", name)
            left &= self._connections(user)
            if left and time.monotonic() > deadline:
                raise TransportError(
                    f"{len(left)} connections of {user!r} cannot be closed",
                    "close them in the management UI",
                )
            if left:
                time.sleep(_LOOK.total_seconds())

    def _connections(self, user: str) -> frozenset[str]:
        answer = self._api.get("connections", "username", user)
        if not isinstance(answer, list):
            raise TransportError("the broker's list of connections is not a list")
        return frozenset(
            _text(entry, "name")
            for entry in answer
            if _text(entry, "vhost") == self._vhost
        )

    def queue_counts(self) -> list[QueueCount]:
        """Return what waits in every queue of the realm, by name.

        Raises:
            TransportError: the broker is not there or refuses.
        """
        answer = self._api.get(
            "queues", self._vhost, query=f"?columns={_QUEUE_COLUMNS}"
        )
        if not isinstance(answer, list):
            raise TransportError("the broker's list of queues is not a list")
        counts = [
            QueueCount(
                name=_text(entry, "name"),
                ready=_number(entry, "messages_ready"),
                unacknowledged=_number(entry, "messages_unacknowledged"),
                consumers=_number(entry, "consumers"),
                state=_text(entry, "state"),
            )
            for entry in answer
        ]
        return sorted(counts, key=lambda count: count.name)

    def snapshot(self, window: timedelta) -> Snapshot:
        """Return what there is to know of nodes and the realm's queues for a check.

        Args:
            window: how far back samples are looked at.

        Raises:
            TransportError: the broker is not there or refuses.
        """
        return take_snapshot(self._api, self._vhost, window)

    def overview(self) -> BrokerOverview:
        """Return what the broker says of itself (counts are of all vhosts).

        Raises:
            TransportError: the broker is not there or refuses.
        """
        answer = self._api.get("overview")
        totals = answer.get("object_totals") if isinstance(answer, dict) else None
        waiting = answer.get("queue_totals") if isinstance(answer, dict) else None
        return BrokerOverview(
            rabbitmq_version=_text(answer, "rabbitmq_version"),
            erlang_version=_text(answer, "erlang_version"),
            cluster_name=_text(answer, "cluster_name"),
            node=_text(answer, "node"),
            connections=_number(totals, "connections"),
            queues=_number(totals, "queues"),
            messages=_number(waiting, "messages"),
        )

    def _declare(self, queue: Queue) -> None:
        self._api.put(
            "queues",
            self._vhost,
            queue.name,
            body={
                "durable": True,
                "auto_delete": False,
                "arguments": dict(queue.arguments),
            },
        )

    def _bind(self, binding: Binding) -> None:
        self._api.post(
            "bindings",
            self._vhost,
            "e",
            binding.exchange,
            "q",
            binding.queue,
            body={"routing_key": binding.routing_key, "arguments": {}},
        )

    def _make_user(self, user: User) -> None:
        account = {
            "password_hash": user.password_hash,
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": ",".join(user.tags),
        }
        # Permissions hang on a user that exists. Until they are set it may enter
        # no vhost at all, and the topic permission, which only narrows, is first.
        self._api.put("users", user.name, body=account)
        if user.permissions.topic_write is not None:
            self._api.put(
                "topic-permissions",
                self._vhost,
                user.name,
                body={
                    "exchange": MANAGER_EXCHANGE,
                    "write": user.permissions.topic_write,
                    "read": "^$",
                },
            )
        self._permit(user.name, user.permissions)

    def _permit(self, user: str, permissions: Permissions) -> None:
        self._api.put(
            "permissions",
            self._vhost,
            user,
            body={
                "configure": permissions.configure,
                "write": permissions.write,
                "read": permissions.read,
            },
        )


def _text(entry: object, name: str) -> str:
    value = entry.get(name) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else ""


def _number(entry: object, name: str) -> int:
    # Just after a start RabbitMQ leaves counts out that it does not have yet.
    value = entry.get(name) if isinstance(entry, dict) else None
    return value if isinstance(value, int) else 0
