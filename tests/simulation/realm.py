"""A realm whose manager may die at the worst moments, and its participants."""

from dataclasses import dataclass, field

from manager.protocol.job_state import JobState
from manager.protocol.model import Member
from participant.protocol.consent import Policy
from shared import topology
from shared.names import Io, Principal, Role
from shared.transport.memory import MemoryBroker, MemoryTransport
from tests.manager_realm import NOT_WAITING, ManagerRealm, MemoryProvisioner
from tests.simulation.data_plane import DataPlane
from tests.simulation.dice import Dice
from tests.simulation.party import SimParty
from tests.simulation.template import template

BATCH = 8
FIRST_SERVER = Principal("MPC_server_001")


@dataclass
class SimRealm(ManagerRealm):
    """The manager's own service, the memory broker and everybody else.

    ``dice``: decides what happens; the broker's faults have a stream of their own.
    """

    dice: Dice = field(default_factory=lambda: Dice("0"))
    plane: DataPlane = field(default_factory=DataPlane)

    def __post_init__(self) -> None:  # noqa: D105 - makes the rest
        start = template()
        self.root, self.keys, self.store = start.root, start.keys, start.restored()
        self.entropy = self.dice.of("manager").draw
        self.broker = MemoryBroker(self.dice.of("broker").draw, now=self.clock.now)
        self.provisioner = MemoryProvisioner(self.broker)
        self.transport = MemoryTransport(self.broker, topology.MANAGER_USER)
        self.service = self._new_service()
        for each in start.parties:
            role = each.identity.role
            self.provisioner.create_participant(each.principal, role, "hash")
        self.parties = [self._party(each) for each in start.parties]

    def _party(self, model: SimParty) -> SimParty:
        identity = model.identity
        party = SimParty(
            identity,
            self.broker,
            self.clock,
            self.dice.of(identity.principal).draw,
            self.plane,
            self._policy(identity.io),
            slots=1 + self.dice.below(2),
        )
        party.go_on_as(model)
        return party

    async def begin(self) -> None:
        """Start the manager; everybody says its status."""
        await self.start()
        for party in self.parties:
            party.on_time()
        await self.calm()

    def _policy(self, io: Io | None) -> Policy:
        """Return an owner's rules; some owners are hard to please."""
        if io is Io.INPUT and self.dice.happens(5):
            return Policy(denied=frozenset({FIRST_SERVER}))
        return Policy(accepts=io is Io.OUTPUT or not self.dice.happens(5))

    @property
    def consumers(self) -> list[SimParty]:
        """Who may ask for jobs."""
        return [party for party in self.parties if party.identity.io is Io.OUTPUT]

    @property
    def servers(self) -> list[SimParty]:
        """The MPC servers."""
        return [party for party in self.parties if party.identity.role is Role.MPCS]

    async def calm(self) -> None:
        """Let everybody who is up work until nothing moves."""
        moved = 1
        while moved:
            moved = self.broker.settle()
            moved += await self.service.pump(NOT_WAITING)
            for party in self.parties:
                if party.is_up:
                    moved += party.hear(32) + party.speak()

    async def pump_and_die(self, *, publishes: bool) -> None:
        """Commit a batch, perhaps publish it, and die before it is acknowledged."""
        deliveries = await self.transport.deliveries(BATCH, NOT_WAITING)
        if deliveries:
            self.service.handle(deliveries)
            if publishes:
                await self.service.publish()
        await self.crash()

    def states(self) -> list[JobState]:
        """Return every job that the manager ever took, as the store has it."""
        with self.store.transaction() as unit:
            return unit.jobs.latest(1000)

    def pool(self) -> dict[str, Member]:
        """Return the online MPC servers as the manager selects them."""
        servers = self.service._office.memory.pool().servers()
        return {server.principal: server for server in servers}

    def sent_types(self) -> list[tuple[str, str]]:
        """Return type and routing key of everything that was ever published."""
        return [(message.type, message.routing_key) for message in self.broker.seen]
