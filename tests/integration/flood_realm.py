"""A manager in a process of its own, and actors that reach it through a real broker."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from manager.broker.access import BrokerAccess
from manager.realm.founding import KEY_FILE
from manager.realm.keys import load_keys
from shared.clock import SystemClock, to_ms
from shared.messages import AsReply, RegistrationDone, RegistrationReply
from shared.names import Io, Role
from shared.token import Token, parse
from shared.topology import enrolment_queue, inbox
from shared.transport.amqp import AmqpTransport
from shared.transport.base import Outgoing
from shared.transport.memory import MemoryBroker
from tests.manager_realm import FakeClock, stream
from tests.negative.realm import STATUS, Actor, AttackedRealm, M

PASSWORD: Final = "password"
"""Whose hash an actor registers with."""
PATIENCE: Final = timedelta(seconds=30)
_READY_SECONDS: Final = 30
_POLL: Final = timedelta(milliseconds=5)


class RealClock(FakeClock):
    """The machine's time, where the actors expect the clock of a simulation."""

    def now(self) -> datetime:
        """Return the real time."""
        return SystemClock().now()

    @property
    def ms(self) -> int:
        """The real time in milliseconds."""
        return to_ms(self.now())


class RemoteRealm(AttackedRealm):
    """Where actors put their envelopes before a connection carries them."""

    def __post_init__(self) -> None:  # noqa: D105 - no manager here
        assert isinstance(self.path, Path)
        self.keys = load_keys(self.path / KEY_FILE)
        self.clock = RealClock()
        self.broker = MemoryBroker(stream("bridge"))


@dataclass
class ManagerProcess:
    """``python -m manager run`` with a home of its own."""

    home: Path
    broker: BrokerAccess
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:  # noqa: D105 - writes the settings
        self.home.mkdir(mode=0o700)
        admin, manager = self.broker.credentials.admin, self.broker.credentials.manager
        secret = {
            "admin": {"user": admin.user, "password": admin.password},
            "manager": {"user": manager.user, "password": manager.password},
        }
        self._write("broker.json", json.dumps(secret))
        self._write("broker.pem", self.broker.authority or "")
        self._write("root.password", "of the test only\n")
        self._write(
            "manager.toml",
            f'realm = "{self.broker.vhost}"\n'
            f'broker_url = "{self.broker.amqp_url}"\n'
            f'broker_management_url = "{self.broker.management_url}"\n'
            f'broker_credentials_file = "{self.home / "broker.json"}"\n'
            f'broker_ca_file = "{self.home / "broker.pem"}"\n',
        )

    def _write(self, name: str, text: str) -> None:
        path = self.home / name
        path.touch(mode=0o600)
        path.write_text(text)

    def command(self, *arguments: str) -> str:
        """Run one ``mpc-manager`` command and return what it printed."""
        done = subprocess.run(
            self._line(*arguments), check=True, capture_output=True, text=True
        )
        return done.stdout

    def start(self) -> None:
        """Make the realm and run its manager; wait until it is ready."""
        password = str(self.home / "root.password")
        realm = str(self.broker.vhost)
        self.command("init", "--realm", realm, "--root-password-file", password)
        log = self.home / "log"
        with log.open("wb") as file:
            self.process = subprocess.Popen(self._line("run"), stderr=file)
        deadline = time.monotonic() + _READY_SECONDS
        while "manager ready" not in log.read_text():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(_POLL.total_seconds())

    def stop(self) -> int:
        """Stop the manager as an operator does; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_READY_SECONDS)

    def resident_bytes(self) -> int:
        """Return how much memory the manager holds."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def _line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "manager", "--home", str(self.home), *arguments]


@dataclass
class Connected:
    """An actor with a connection: what it puts goes to the broker, and back."""

    actor: Actor
    amqp: AmqpTransport
    carried: int = 0

    async def exchange(self, wanted: type[M]) -> M:
        """Send what was put; return the first answer of a kind.

        Raises:
            TimeoutError: none came within ``PATIENCE``.
        """
        await self.send()
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while True:
                deliveries = await self.amqp.deliveries(32, timedelta(seconds=1))
                for delivery in deliveries:
                    letter = _letter(delivery.queue, delivery.body)
                    self.actor.realm.broker.inject(delivery.queue, letter)
                self.actor.realm.broker.settle()
                await self.amqp.ack(deliveries)
                for message in self.actor.read():
                    if isinstance(message, wanted):
                        return message

    async def send(self) -> None:
        """Publish what the actor has put since the last time."""
        seen = self.actor.realm.broker.seen
        users = {self.actor.token.user, self.actor.principal}
        mine = [m for m in seen[self.carried :] if m.user_id in users]
        self.carried = len(seen)
        await self.amqp.publish(mine)


def _letter(queue: str, body: bytes) -> Outgoing:
    return Outgoing(
        "mpc.participants", queue, body, "", "", None, None, 0, "manager", ""
    )


def _amqp(broker: BrokerAccess, user: str, password: str) -> AmqpTransport:
    return AmqpTransport(
        broker.amqp_url, user, password, broker.vhost, user, ssl_context=broker.tls()
    )


async def _registered(broker: BrokerAccess, actor: Actor, token: Token) -> None:
    amqp = _amqp(broker, token.user, token.broker_password)
    await amqp.connect()
    try:
        queue = enrolment_queue(token.token_id).name
        await amqp.consume(queue)
        link = Connected(actor, amqp)
        actor.send_sealed(actor.request())
        reply = await link.exchange(RegistrationReply)
    finally:
        await amqp.close()
    actor.realm.broker.declare(inbox(reply.principal, actor.role))
    actor.become(reply)


@asynccontextmanager
async def connected(
    manager: ManagerProcess, realm: RemoteRealm, role: Role, io: Io | None = None
) -> AsyncIterator[Connected]:
    """Register a participant and bring it online over the real broker."""
    kind = ("--io", io.value) if io else ()
    text = manager.command("token", "create", "--role", role.value, *kind)
    token = parse(text)
    realm.broker.declare(enrolment_queue(token.token_id))
    actor = Actor(realm, token.token_id.hex(), token, role, io)
    await _registered(manager.broker, actor, token)
    amqp = _amqp(manager.broker, actor.principal, PASSWORD)
    await amqp.connect()
    try:
        await amqp.consume(inbox(actor.principal, role).name)
        link = Connected(actor, amqp, len(realm.broker.seen))
        done = RegistrationDone(
            principal=actor.principal, serial=actor.serial, nonce=actor.entropy(16)
        )
        actor.send_sealed(done)
        await link.send()
        request = actor.login()
        actor.send_sealed(request)
        actor.open_session(request, await link.exchange(AsReply))
        actor.send(STATUS)
        await link.send()
        yield link
    finally:
        await amqp.close()
