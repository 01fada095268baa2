"""A realm of data planes in one process: real TCP and TLS, manifests made by hand."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from participant.dataplane.ipc import (
    Configure,
    Configured,
    JobFailed,
    JobProgress,
    NewTlsKey,
    Peer,
    Prepare,
    Prepared,
    StartJob,
    TlsKeyMade,
    ToControl,
    ToData,
    UseLeaf,
)
from participant.dataplane.plane import DataPlane
from participant.dataplane.times import Times
from shared.clock import SystemClock, to_ms
from shared.crypto.certificates import CertificateAuthority, read_csr
from shared.crypto.derivation import job_id, sha256
from shared.crypto.keys import KemKey, SigningKey
from shared.crypto.sealing import NONCE_BYTES
from shared.messages import (
    Authorisation,
    Requirements,
    ServerTicket,
    Spec,
    TicketAuthorisation,
    TicketBody,
)
from shared.names import Duty, Fingerprint, JobId, Principal, Realm, Role
from shared.protocol.tickets import seal_ticket

REALM = Realm("test.realm")
FINGERPRINT = Fingerprint(sha256(b"a realm of the tests"))
CLOCK = SystemClock()
PATIENCE_SECONDS = 20.0


def now_ms() -> int:
    """Return the time."""
    return to_ms(CLOCK.now())


def new_authority(realm: Realm = REALM) -> CertificateAuthority:
    """Return a data-plane authority that is in time."""
    now = CLOCK.now()
    return CertificateAuthority.create(
        realm, now - timedelta(hours=1), now + timedelta(days=1)
    )


@dataclass
class Party:
    """One participant and its data plane; ``events``: all that it reported."""

    name: Principal
    role: Role
    folder: Path
    authority: CertificateAuthority
    times: Times
    sig: SigningKey = field(default_factory=SigningKey.generate)
    events: list[ToControl] = field(default_factory=list)
    spki: bytes = b""
    port: int | None = None

    def __post_init__(self) -> None:
        """Make the data plane."""
        self.plane = DataPlane(self.emit, CLOCK, self.times)
        self._changed = asyncio.Event()

    def emit(self, event: ToControl) -> None:
        """Keep what the data plane reports."""
        self.events.append(event)
        self._changed.set()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens."""
        return () if self.port is None else (f"127.0.0.1:{self.port}",)

    async def tell(self, order: ToData) -> None:
        """Give an order."""
        await self.plane.handle(order)

    async def asked(self, order: ToData) -> ToControl:
        """Give an order and return its answer, the next event."""
        before = len(self.events)
        await self.tell(order)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.events) == before:
                self._changed.clear()
                await self._changed.wait()
        return self.events[before]

    async def start(self, listen: Sequence[str] = ("127.0.0.1:0",)) -> None:
        """Configure it and log it in."""
        is_server = self.role is Role.MPCS
        configured = await self.asked(
            Configure(
                role=self.role,
                listen=tuple(listen) if is_server else (),
                port_tries=50,
                folder=str(self.folder),
            )
        )
        assert isinstance(configured, Configured)
        self.port = configured.port
        await self.log_in()

    async def log_in(self) -> None:
        """Make a TLS key and give it a leaf, as an AS exchange does."""
        made = await self.asked(NewTlsKey(principal=self.name))
        assert isinstance(made, TlsKeyMade)
        leaf = self.leaf_for(made.csr)
        await self.tell(
            UseLeaf(
                spki=made.spki,
                leaf=leaf,
                cas=(self.authority.certificate_der,),
                realm=REALM,
                exp=now_ms() + 3_600_000,
            )
        )
        self.spki = made.spki

    def leaf_for(self, csr: bytes) -> bytes:
        """Return a leaf for the key in a request."""
        now = CLOCK.now()
        return self.authority.issue_leaf(
            read_csr(csr),
            REALM,
            self.role,
            self.name,
            now - timedelta(minutes=5),
            now + timedelta(hours=1),
        )

    async def until(
        self, is_it: Callable[[ToControl], bool], seconds: float = PATIENCE_SECONDS
    ) -> ToControl:
        """Return the first event, past or future, of this kind."""
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if is_it(event):
                        return event
                self._changed.clear()
                await self._changed.wait()

    async def reached(self, job: JobId, phase: str) -> JobProgress:
        """Wait until a phase of a job is reported; a failure ends the wait."""
        event = await self.until(
            lambda event: (
                (
                    isinstance(event, JobProgress)
                    and (event.job, event.phase) == (job, phase)
                )
                or (isinstance(event, JobFailed) and event.job == job)
            )
        )
        assert isinstance(event, JobProgress), event
        return event

    async def failed(self, job: JobId) -> JobFailed:
        """Wait until a job is reported to have failed."""
        event = await self.until(
            lambda event: isinstance(event, JobFailed) and event.job == job
        )
        assert isinstance(event, JobFailed)
        return event


@dataclass
class Job:
    """A job with everything that a manager would hand out for it."""

    id: JobId
    spec: Spec
    servers: Sequence[Party]
    clients: dict[Principal, tuple[Party, frozenset[Duty]]]
    consumer: Party
    result_key: KemKey
    manifest_hash: bytes
    deadline: int
    epoch: int = 1
    number: int = 1
    ticket_keys: dict[Principal, bytes] = field(default_factory=dict)

    def peers(self) -> tuple[Peer, ...]:
        """Return the roster."""
        servers = [
            Peer(
                p=server.name,
                role=Role.MPCS,
                party=index,
                duties=(Duty.COMPUTE,),
                spki=server.spki,
                sig_pk=server.sig.public,
                addrs=server.addresses,
            )
            for index, server in enumerate(self.servers)
        ]
        clients = [
            Peer(
                p=party.name,
                role=Role.CLIENT,
                duties=tuple(sorted(duties)),
                spki=party.spki,
                sig_pk=party.sig.public,
                addrs=(),
            )
            for party, duties in self.clients.values()
        ]
        return (*servers, *clients)

    def ticket(
        self, client: Party, server: Party, **changes: object
    ) -> tuple[ServerTicket, TicketBody]:
        """Return a client's ticket for a server and what is in it.

        ``changes`` go into the body; ``ticket_key`` seals it instead of the right one.
        """
        sealing = changes.pop("ticket_key", self.ticket_keys[server.name])
        assert isinstance(sealing, bytes)
        duties = self.clients[client.name][1]
        direction = (
            "both" if len(duties) > 1 else "in" if Duty.INPUT in duties else "out"
        )
        body = TicketBody.model_validate(
            {
                "tid": secrets.token_bytes(16),
                "mh": self.manifest_hash,
                "c": client.name,
                "role": "client",
                "cnf_c": client.spki,
                "cnf_s": server.spki,
                "k_cs": secrets.token_bytes(32),
                "az": TicketAuthorisation.model_validate(
                    {"dir": direction, "cols": (), "max_bytes": 1 << 20}
                ),
                "nbf": now_ms() - 1000,
                "exp": self.deadline,
                **changes,
            }
        )
        sealed = seal_ticket(
            body,
            sealing,
            FINGERPRINT,
            self.id,
            self.epoch,
            server.name,
            secrets.token_bytes(NONCE_BYTES),
        )
        return ServerTicket(s=server.name, k_cs=body.k_cs, ticket=sealed), body

    def order(self, party: Party, **changes: object) -> StartJob:
        """Return what the party's control process would order."""
        values: dict[str, object] = {
            "me": party.name,
            "realm": REALM,
            "fingerprint": FINGERPRINT,
            "job": self.id,
            "number": self.number,
            "epoch": self.epoch,
            "manifest_hash": self.manifest_hash,
            "spec": self.spec.pack(),
            "parties": self.peers(),
            "sources": len(self.sources()),
            "own_spki": party.spki,
            "deadline": self.deadline,
            "result_exp": self.spec.result_exp,
        }
        if party.role is Role.MPCS:
            values["party"] = self.servers.index(party)
            values["k_tkt"] = self.ticket_keys[party.name]
        else:
            values["tickets"] = tuple(
                self.ticket(party, server)[0] for server in self.servers
            )
        if party is self.consumer:
            values["result_key"] = self.result_key.secret
        return StartJob.model_validate({**values, **changes})

    def parties(self) -> list[Party]:
        """Return everybody."""
        return [*self.servers, *(party for party, _ in self.clients.values())]

    def sources(self) -> list[Party]:
        """Return the parties that give data."""
        return [p for p, duties in self.clients.values() if Duty.INPUT in duties]

    async def prepare(self) -> None:
        """Let every source read its data."""
        for source in self.sources():
            await source.tell(
                Prepare(
                    job=self.id,
                    epoch=self.epoch,
                    spec=self.spec.pack(),
                    path=str(source.folder / "data.csv"),
                )
            )
        for source in self.sources():
            await source.until(
                lambda event: isinstance(event, Prepared) and event.job == self.id
            )

    async def start(self, parties: Iterable[Party] | None = None) -> None:
        """Start everybody, or some."""
        for party in self.parties() if parties is None else parties:
            await party.tell(self.order(party))

    def result(self) -> dict[str, object]:
        """Return the result that the consumer wrote."""
        path = self.consumer.folder / self.id.hex() / "result.json"
        written: dict[str, object] = json.loads(path.read_text())
        result = written["result"]
        assert isinstance(result, dict)
        return result


class World:
    """All parties of a test."""

    def __init__(self, folder: Path, times: Times) -> None:
        self.folder = folder
        self.times = times
        self.authority = new_authority()
        self.parties: list[Party] = []

    async def party(self, name: str, role: Role) -> Party:
        """Return a new participant that is logged in."""
        folder = self.folder / f"{name}-{len(self.parties)}"
        folder.mkdir()
        party = Party(Principal(name), role, folder, self.authority, self.times)
        self.parties.append(party)
        await party.start()
        return party

    async def servers(self, count: int) -> list[Party]:
        """Return so many MPC servers."""
        return [
            await self.party(f"MPC_server_{number:03d}", Role.MPCS)
            for number in range(1, count + 1)
        ]

    async def source(self, name: str, rows: Sequence[float]) -> Party:
        """Return a client that holds one column ``age``."""
        party = await self.party(name, Role.CLIENT)
        lines = ["age", *(str(row) for row in rows)]
        (party.folder / "data.csv").write_text("\n".join(lines) + "\n")
        return party

    def job(
        self,
        servers: Sequence[Party],
        sources: Sequence[Party],
        consumer: Party,
        *,
        seconds: float = 30.0,
        statistic: str = "mean",
        engine: str = "additive",
    ) -> Job:
        """Return a job of these parties; a consumer among the sources is both."""
        chosen = secrets.token_bytes(16)
        key = KemKey.generate()
        deadline = now_ms() + round(seconds * 1000)
        spec = Spec(
            v=1,
            realm=FINGERPRINT,
            consumer=consumer.name,
            id=chosen,
            engine=engine,
            protocol=engine,
            program_hash=sha256(statistic.encode()),
            params={"statistic": statistic, "columns": ["age"], "fixp": 16},
            threshold=len(servers) - 1,
            servers=len(servers),
            requires=Requirements(),
            datasets=("patients",),
            min_sources=0,
            az=Authorisation(cols=("age",), max_bytes=1 << 20),
            deadline=deadline,
            attempts=1,
            result_exp=deadline + 60_000,
            res=key.public,
        )
        clients = {source.name: (source, frozenset({Duty.INPUT})) for source in sources}
        duties = frozenset({Duty.OUTPUT})
        if consumer.name in clients:
            duties |= {Duty.INPUT}
        clients[consumer.name] = (consumer, duties)
        return Job(
            id=job_id(FINGERPRINT, consumer.name, chosen),
            spec=spec,
            servers=servers,
            clients=clients,
            consumer=consumer,
            result_key=key,
            manifest_hash=secrets.token_bytes(32),
            deadline=deadline,
            ticket_keys={server.name: secrets.token_bytes(32) for server in servers},
        )


@asynccontextmanager
async def world(folder: Path, times: Times | None = None) -> AsyncIterator[World]:
    """Give a realm, and end all of its parties afterwards."""
    made = World(folder, times or Times())
    try:
        yield made
    finally:
        await asyncio.gather(*(party.plane.close() for party in made.parties))
