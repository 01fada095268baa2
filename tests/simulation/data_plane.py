"""What the data processes of all parties do, without links, data or arithmetic.

A move becomes possible when a real data process could make it: links need both ends
at work on the same manifest, servers need every input, the consumer every share.
"""

from dataclasses import dataclass, field

from participant.protocol.model import (
    Broke,
    DataEvent,
    DataReady,
    DataRefused,
    Prepare,
    Reached,
    Run,
    Stage,
    Stop,
)
from shared.errors import FailureCode, RefusalCode
from shared.names import Duty, JobId, Principal

Key = tuple[JobId, int]


@dataclass
class Part:
    """One party's work on a job in an epoch."""

    run: Run
    stage: Stage = Stage.STARTED

    @property
    def duties(self) -> tuple[Duty, ...]:
        """What the party does in the job."""
        return self.run.state.duties

    @property
    def servers(self) -> list[Principal]:
        """The MPC servers that the manifest names."""
        return [p.principal for p in self.run.peers if Duty.COMPUTE in p.duties]

    @property
    def sources(self) -> list[Principal]:
        """The sources that the manifest names."""
        return [p.principal for p in self.run.peers if Duty.INPUT in p.duties]


@dataclass(frozen=True, slots=True)
class Possible:
    """A data process may say this now. ``is_failure``: nothing asks for it."""

    principal: Principal
    job: JobId
    event: DataEvent
    is_failure: bool = False


@dataclass
class DataPlane:
    """Every data process of the realm.

    ``shares``: sealed output shares on the disks of MPC servers. ``serving``: those
    that a data process would hand out now. ``runs``: every order to run that was
    given, for the invariants.
    """

    parts: dict[Key, dict[Principal, Part]] = field(default_factory=dict)
    preparing: dict[tuple[Principal, JobId], Prepare] = field(default_factory=dict)
    shares: set[tuple[Principal, JobId, int]] = field(default_factory=set)
    serving: set[tuple[Principal, JobId, int]] = field(default_factory=set)
    runs: list[tuple[Principal, Run]] = field(default_factory=list)
    down: set[Principal] = field(default_factory=set)

    def obey(self, principal: Principal, order: Prepare | Run | Stop) -> None:
        """Take an order of a control process."""
        if isinstance(order, Prepare):
            self.preparing[principal, order.job] = order
        elif isinstance(order, Stop):
            self._stop(principal, order)
        else:
            self._run(principal, order)

    def lose(self, principal: Principal) -> None:
        """End a data process; what is on disk stays."""
        for key in [key for key in self.preparing if key[0] == principal]:
            del self.preparing[key]
        for parts in self.parts.values():
            parts.pop(principal, None)
        self.serving = {each for each in self.serving if each[0] != principal}

    def note(self, principal: Principal, possible: Possible) -> None:
        """Let a move happen."""
        event = possible.event
        if isinstance(event, DataReady | DataRefused):
            self.preparing.pop((principal, possible.job), None)
        if isinstance(event, Broke):
            self.parts[possible.job, event.epoch].pop(principal, None)
        if isinstance(event, Reached):
            self.parts[possible.job, event.epoch][principal].stage = event.stage
            if event.stage is Stage.COMPUTED:
                name = (principal, possible.job, event.epoch)
                self.shares.add(name)
                self.serving.add(name)

    def possible(self, now_ms: int) -> list[Possible]:
        """Return everything that a data process may say now, in a fixed order."""
        moves = []
        for (principal, job), order in self.preparing.items():
            ready = DataReady(order.epoch, 10, 400)
            bad = DataRefused(order.epoch, RefusalCode.MISSING_VALUES, "a gap")
            moves.append(Possible(principal, job, ready))
            moves.append(Possible(principal, job, bad, is_failure=True))
        for key, parts in self.parts.items():
            for principal, part in parts.items():
                moves += self._moves(key, principal, part, now_ms)
        return [move for move in moves if move.principal not in self.down]

    def _moves(
        self, key: Key, principal: Principal, part: Part, now_ms: int
    ) -> list[Possible]:
        job, epoch = key
        if part.run.fetch_only:
            if Duty.OUTPUT not in part.duties or part.stage is Stage.DELIVERED:
                return []
            can_fetch = all(
                (s, job, epoch) in self.serving and s not in self.down
                for s in part.servers
            )
            if not can_fetch:
                return [self._broken(key, principal, part.servers[0], now_ms)]
            return [self._reached(key, principal, Stage.DELIVERED, now_ms)]
        moves = []
        following = self._next(key, part)
        if following is not None:
            moves.append(self._reached(key, principal, following, now_ms))
        if part.stage in {Stage.COMPUTED, Stage.DELIVERED}:
            return moves
        for peer in part.run.peers:
            failure = self._broken(key, principal, peer.principal, now_ms)
            is_there = peer.principal in self.parts[key] or self._is_done(key, peer)
            is_lost = peer.principal in self.down or not is_there
            if is_lost and part.stage is not Stage.STARTED:
                moves.append(failure)
            else:
                moves.append(Possible(principal, job, failure.event, is_failure=True))
        return moves

    def _is_done(self, key: Key, peer: object) -> bool:
        name = getattr(peer, "principal", "")
        return (name, *key) in self.serving

    def _next(self, key: Key, part: Part) -> Stage | None:
        parts = self.parts[key]
        if part.stage is Stage.STARTED:
            names = [peer.principal for peer in part.run.peers]
            same = [
                name
                for name in names
                if name in parts
                and name not in self.down
                and parts[name].run.manifest_hash == part.run.manifest_hash
            ]
            return Stage.LINKED if names == same else None
        if Duty.COMPUTE in part.duties:
            return self._next_of_server(parts, part)
        if part.stage is not Stage.LINKED:
            return None
        if Duty.OUTPUT in part.duties:
            has_all = all((name, *key) in self.serving for name in part.servers)
            return Stage.DELIVERED if has_all else None
        return Stage.DELIVERED

    def _next_of_server(self, parts: dict[Principal, Part], part: Part) -> Stage | None:
        if part.stage is Stage.LINKED:
            sources = [parts.get(name) for name in part.sources]
            has_all = all(s is not None and s.stage is Stage.DELIVERED for s in sources)
            return Stage.RUNNING if has_all else None
        if part.stage is Stage.RUNNING:
            others = [parts.get(name) for name in part.servers]
            busy = {Stage.RUNNING, Stage.COMPUTED}
            has_all = all(s is not None and s.stage in busy for s in others)
            return Stage.COMPUTED if has_all else None
        return None

    def _reached(
        self, key: Key, principal: Principal, stage: Stage, now_ms: int
    ) -> Possible:
        result = None
        if (
            stage is Stage.DELIVERED
            and Duty.OUTPUT in self.parts[key][principal].duties
        ):
            result = f"{key[0].hex()}.json"
        event = Reached(key[1], stage, now_ms, 5, 100, 100, result)
        return Possible(principal, key[0], event)

    def _broken(
        self, key: Key, principal: Principal, peer: Principal, now_ms: int
    ) -> Possible:
        event = Broke(key[1], now_ms, FailureCode.LINK_FAILED, peer, "a link broke")
        return Possible(principal, key[0], event)

    def _run(self, principal: Principal, run: Run) -> None:
        state = run.state
        self.runs.append((principal, run))
        self.parts.setdefault((state.job, state.epoch), {})[principal] = Part(run)
        name = (principal, state.job, state.epoch)
        if run.fetch_only and name in self.shares:
            self.serving.add(name)

    def _stop(self, principal: Principal, order: Stop) -> None:
        self.preparing.pop((principal, order.job), None)
        for (job, _), parts in self.parts.items():
            if job == order.job:
                parts.pop(principal, None)
        if order.discards:
            gone = {s for s in self.shares if s[0] == principal and s[1] == order.job}
            self.shares -= gone
            self.serving -= gone
