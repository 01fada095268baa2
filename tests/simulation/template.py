"""A realm in which everybody is registered and logged in; each history begins with a copy of it.

Both have their own tests. Here they are done once, through the manager, so that
hundreds of histories cost what they are about.
"""

import asyncio
import sqlite3
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from manager.realm.keys import ManagerKeys
from manager.store.store import Store
from participant.protocol.identity import BrokerLogin, Identity
from participant.protocol.trust import check_descriptor
from shared.crypto.keys import SigningKey
from shared.messages import RegistrationReply
from shared.names import Io, Role
from tests.manager_realm import ManagerRealm, RawParty, stream
from tests.simulation.party import SimParty

PASSWORD: Final = "the broker's password of a party"

CAST: Final = (
    *((f"server{number}", Role.MPCS, None) for number in range(1, 5)),
    *((f"source{number}", Role.CLIENT, Io.INPUT) for number in range(1, 3)),
    *((f"consumer{number}", Role.CLIENT, Io.OUTPUT) for number in range(1, 3)),
)


@dataclass
class Newcomer(RawParty):
    """A party that keeps its identity. ``found``: once it has one."""

    found: list[Identity] = field(default_factory=list)

    def become(self, reply: RegistrationReply) -> None:
        """Take the name that a reg.rep gives."""
        super().become(reply)
        broker, fingerprint = reply.broker, self.realm.keys.fingerprint
        self.found.append(
            Identity(
                signing=self.signer,
                kem=self.kem,
                principal=self.principal,
                role=self.role,
                io=self.io,
                cert=reply.cert,
                realm=check_descriptor(reply.realm_desc, fingerprint, 1),
                broker=BrokerLogin(
                    "amqp://127.0.0.1:5672",
                    broker.vhost,
                    broker.user,
                    broker.queue,
                    PASSWORD,
                ),
                journal_key=self.entropy(32),
            )
        )


@dataclass(frozen=True)
class Template:
    """``image``: the store as it is when everybody has logged in."""

    root: SigningKey
    keys: ManagerKeys
    parties: tuple[SimParty, ...]
    store: Store
    image: sqlite3.Connection
    secrets: frozenset[bytes]

    def restored(self) -> Store:
        """Return the store, nothing of an earlier history in it."""
        self.image.backup(_driver(self.store))
        return self.store


@cache
def template() -> Template:
    """Return the template; it is made once a process."""
    return asyncio.run(_made())


async def _made() -> Template:
    realm = ManagerRealm()
    await realm.start()
    secrets: set[bytes] = {realm.root.seed, realm.keys.signer.seed}
    secrets |= {realm.keys.kem.secret, realm.keys.authority.key_pem}
    parties: list[SimParty] = []
    for name, role, io in CAST:
        newcomer = Newcomer(realm, name, await realm.token(role, io), role, io)
        await newcomer.register()
        newcomer.transport.crash()
        [identity] = newcomer.found
        entropy = stream(f"{name} at work")
        party = SimParty(identity, realm.broker, realm.clock, entropy)
        await _log_in(realm, party)
        parties.append(party)
        secrets |= {newcomer.token.secret, newcomer.signer.seed, newcomer.kem.secret}
        secrets |= {identity.journal_key, *party.secrets}
    image = sqlite3.connect(":memory:")
    _driver(realm.store).backup(image)
    keys = realm.newest
    secrets |= {key for _, key in keys.session_keys}
    return Template(
        realm.root, keys, tuple(parties), realm.store, image, frozenset(secrets)
    )


async def _log_in(realm: ManagerRealm, party: SimParty) -> None:
    party.begin_login()
    await realm.settle()
    party.hear(8)
    party.speak()
    await realm.settle()


def _driver(store: Store) -> sqlite3.Connection:
    """Return SQLite's own connection; in memory there is one."""
    connection = store._engine.raw_connection().driver_connection
    assert isinstance(connection, sqlite3.Connection)
    return connection
