"""One seeded history: jobs, faults and deaths in chaos, then time to end it all."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from manager.realm.rotation import Rotated
from participant.columns import Missing
from participant.protocol.model import OVER
from participant.service.question import Question
from participant.statistics.params import Params
from shared.names import JobId
from shared.transport.memory import Faults
from tests.manager_realm import NOT_WAITING
from tests.simulation.dice import Dice
from tests.simulation.party import COLUMN, DATASET, SimParty
from tests.simulation.realm import SimRealm

MAX_JOBS: Final = 3
MAX_ROTATIONS: Final = 4
FROZEN_AT_MOST: Final = 20_000
CALM_STEP: Final = 8
CALM_ROUNDS: Final = 30
"""Longer together than a deadline and the life of a result."""

WEIGHTS: Final = {
    "broker": 40,
    "manager": 25,
    "hear": 40,
    "speak": 30,
    "data": 25,
    "data fails": 1,
    "time": 12,
    "submit": 6,
    "cancel": 1,
    "faults": 3,
    "broker crash": 1,
    "manager unpublished": 2,
    "manager unacknowledged": 2,
    "manager dies": 1,
    "rotate": 2,
    "looks": 3,
    "unheard": 3,
    "reconnect": 1,
    "restart": 1,
    "data process": 1,
    "freeze": 1,
    "die": 1,
}


def question(servers: int = 2, min_sources: int = 0, seconds: int = 60) -> Question:
    """Return what a consumer asks."""
    return Question(
        Params("mean", (COLUMN,), missing=Missing.REFUSE),
        dataset=DATASET,
        servers=servers,
        min_sources=min_sources,
        deadline=timedelta(seconds=seconds),
        result_life=timedelta(seconds=60),
    )


@dataclass
class History:
    """What a seed makes happen. ``trace``: every action, to compare two runs."""

    seed: int
    actions: int = 170
    trace: list[str] = field(default_factory=list)
    asked: list[tuple[SimParty, JobId]] = field(default_factory=list)
    frozen: dict[str, int] = field(default_factory=dict)
    rotations: int = 0

    def __post_init__(self) -> None:  # noqa: D105 - makes the rest
        self.dice = Dice(f"history {self.seed}")
        self.realm = SimRealm(dice=self.dice)

    async def run(self) -> None:
        """Live through chaos, then let everything come to its end."""
        await self.realm.begin()
        self.submit()
        self._faults()
        for _ in range(self.actions):
            await self._act(self.dice.weighted(WEIGHTS))
        await self._end()

    async def _act(self, action: str) -> None:
        party = self.dice.pick(self.realm.parties)
        self.trace.append(f"{action} {party.principal} {self.realm.clock.ms}")
        await self._act_centrally(action)
        if party.is_up:
            self._act_at(party, action)

    async def _act_centrally(self, action: str) -> None:
        match action:
            case "time":
                await self._pass_time(self.dice.below(1500) / 1000)
            case "data" | "data fails":
                self._data(fails=action == "data fails")
            case "submit":
                self.submit()
            case "rotate":
                self._rotate()
            case "cancel":
                consumer, job = self.dice.pick(self.asked)
                if consumer.jobs[job].stage not in OVER:
                    consumer.cancel(job)
            case _:
                await self._act_at_centre(action)

    async def _act_at_centre(self, action: str) -> None:
        realm = self.realm
        match action:
            case "broker":
                for _ in range(1 + self.dice.below(8)):
                    realm.broker.step()
            case "manager":
                await realm.service.pump(NOT_WAITING)
            case "manager unpublished":
                await realm.pump_and_die(publishes=False)
            case "manager unacknowledged":
                await realm.pump_and_die(publishes=True)
            case "manager dies":
                await realm.crash()
            case "broker crash":
                realm.broker.crash()
            case "looks":
                await realm.service.look_at_inboxes()
            case "faults":
                self._faults()
            case _:
                pass

    def _act_at(self, party: SimParty, action: str) -> None:
        is_consumer = party in self.realm.consumers
        match action:
            case "hear":
                party.hear(1 + self.dice.below(4))
            case "speak":
                party.speak(twice=self.dice.happens(10))
            case "unheard":
                party.hear(1 + self.dice.below(4), acks=False)
                party.reconnect()
            case "reconnect":
                party.reconnect()
            case "restart":
                party.restart()
            case "data process":
                party.lose_data_process()
            case "freeze" if not is_consumer:
                party.freeze()
                self.frozen[party.principal] = self.realm.clock.ms
            case "die" if not is_consumer and self.dice.happens(50):
                party.die()
            case _:
                pass

    def submit(self) -> None:
        """Let a consumer ask for a job."""
        if len(self.asked) >= MAX_JOBS:
            return
        consumer = self.dice.pick(self.realm.consumers)
        asked = question(
            servers=2 + self.dice.below(2),
            min_sources=self.dice.below(2),
            seconds=20 + self.dice.below(40),
        )
        self.asked.append((consumer, consumer.submit(asked)))

    def _rotate(self) -> None:
        """Let an operator rotate keys; a manager that runs takes them soon."""
        kinds = [*Rotated, None]
        kind = kinds[self.dice.below(len(kinds))]
        if self.rotations < MAX_ROTATIONS:
            self.rotations += 1
            self.realm.rotate(*(Rotated if kind is None else (kind,)))

    def _faults(self) -> None:
        self.realm.broker.faults = Faults(
            duplicate=self.dice.below(30) / 100, reorder=self.dice.below(60) / 100
        )

    def _data(self, *, fails: bool, times: int = 3) -> None:
        """Let data processes say something, of what they may say."""
        for _ in range(times):
            moves = [
                move
                for move in self.realm.plane.possible(self.realm.clock.ms)
                if move.is_failure == fails
            ]
            if moves:
                move = self.dice.pick(moves)
                self.realm.plane.note(move.principal, move)
                [party] = [
                    p for p in self.realm.parties if p.principal == move.principal
                ]
                party.feed(move.job, move.event)
            if fails:
                return

    async def _pass_time(self, seconds: float) -> None:
        self.realm.clock.move(seconds)
        await self.realm.service.tick()
        for party in self.realm.parties:
            began = self.frozen.get(party.principal)
            if began is not None and self.realm.clock.ms - began > FROZEN_AT_MOST:
                party.thaw()
                del self.frozen[party.principal]
            if party.is_up:
                party.on_time()

    async def _end(self) -> None:
        """No faults any more: everybody who lives works, and time passes."""
        self.realm.broker.faults = Faults()
        for party in self.realm.parties:
            if party.principal in self.frozen:
                party.thaw()
        self.frozen.clear()
        for _ in range(CALM_ROUNDS):
            await self._calm_round()
            if self._is_over():
                break
            await self._pass_time(CALM_STEP)
            await self.realm.service.look_at_inboxes()
        # Who restarted last logs in, and the manager hears of every slot.
        for _ in range(2):
            await self._pass_time(11)
            await self._calm_round()
        for party in self.realm.servers:
            if party.is_up:
                party.say_status()
        await self._calm_round()

    async def _calm_round(self) -> None:
        while True:
            await self.realm.calm()
            moves = [
                move
                for move in self.realm.plane.possible(self.realm.clock.ms)
                if not move.is_failure
            ]
            if not moves:
                return
            self._data(fails=False, times=12)

    def _is_over(self) -> bool:
        jobs = [job for party in self.realm.parties for job in party.jobs.values()]
        lives = [
            job.stage in OVER
            for party in self.realm.parties
            if party.is_up
            for job in party.jobs.values()
        ]
        is_closed = all(state.is_closed for state in self.realm.states())
        return bool(jobs) and all(lives) and is_closed

    def secrets(self) -> set[bytes]:
        """Return every key that was made or handed out in this history."""
        found = {secret for party in self.realm.parties for secret in party.secrets}
        for keys in (*self.realm.saved, self.realm.newest):
            found |= {key for _, key in keys.session_keys}
            found |= {pair.signer.seed for pair in keys.pairs}
            found |= {pair.kem.secret for pair in keys.pairs}
        return found
