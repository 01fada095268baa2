"""What the participant's job machine remembers, sees and wishes."""

from dataclasses import dataclass, field
from enum import StrEnum, unique

from participant.protocol.consent import Rules
from participant.protocol.identity import Pin
from shared.crypto.keys import KemKey
from shared.errors import ErrorCode, FailureCode, RefusalCode
from shared.messages import Outcome, PhaseTime, ServerTicket
from shared.names import Duty, JobId, Principal, Role
from shared.protocol.machine import CancelTimer, Received, Send, SetTimer, TimerFired


@unique
class Stage(StrEnum):
    """Where a job stands at this participant."""

    ASKED = "asked"
    PREPARING = "preparing"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    STARTED = "started"
    LINKED = "linked"
    RUNNING = "running"
    COMPUTED = "computed"
    DELIVERED = "delivered"
    FAILED = "failed"
    CLOSED = "closed"


BEFORE_START = frozenset({Stage.ASKED, Stage.PREPARING, Stage.ACCEPTED})
IN_DATA_PROCESS = frozenset({Stage.STARTED, Stage.LINKED, Stage.RUNNING})
"""The data process holds links or shares of the job, and no result yet."""
OVER = frozenset({Stage.DELIVERED, Stage.CLOSED})


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended. ``party``: at whom it failed; ``reason``: for people."""

    outcome: Outcome
    code: FailureCode
    party: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PartyJob:
    """A job at one participant.

    ``nonce``: of its accept in ``epoch``. ``k_tkt``: an MPC server's ticket key.
    ``result_key``: the consumer's secret, until the result is there. ``refusal``:
    what it said when it refused in ``epoch``. ``result``: the result's file.
    ``times``: name and milliseconds of what happened, in order. ``tries``: how often
    the result was fetched in vain. ``note``: what the manager said of the wait.
    ``untold``: phases that were reached and not yet reported.
    """

    job: JobId
    spec: bytes
    spec_sig: bytes
    stage: Stage
    deadline: int
    result_exp: int
    number: int = 0
    epoch: int = 0
    duties: tuple[Duty, ...] = ()
    party: int | None = None
    nonce: bytes = b""
    rows: int | None = None
    size: int | None = None
    refusal: tuple[RefusalCode, str] | None = None
    manifest: bytes = b""
    manifest_sig: bytes = b""
    k_tkt: bytes | None = None
    result_key: KemKey | None = None
    result: str | None = None
    ending: Ending | None = None
    times: tuple[tuple[str, int], ...] = ()
    is_recovered: bool = False
    tries: int = 0
    note: str | None = None
    untold: tuple[PhaseTime, ...] = ()

    def __repr__(self) -> str:
        """Name the job, never its keys."""
        return f"PartyJob({self.job.hex()}, {self.stage})"

    @property
    def is_consumer(self) -> bool:
        """Whether this participant asked for the job."""
        return self.result_key is not None or Duty.OUTPUT in self.duties

    @property
    def is_kept(self) -> bool:
        """Whether the job must survive the end of this process.

        At an MPC server, from when it has an output share to serve: the shares of
        a job that computes are in memory only, and end with the process.
        """
        if self.is_consumer:
            return True
        return self.k_tkt is not None and self.stage is Stage.COMPUTED

    def differs_for_good(self, later: "PartyJob") -> bool:
        """Say whether a new process would go on otherwise from a later state.

        Until the start it would ask the manager again; from then on it needs the
        manifest, and not which phase its data process had reached.
        """
        return self.lasting() != later.lasting()

    def lasting(self) -> tuple[object, ...]:
        """Return what a new process would go by, to be compared."""
        stage = self.stage
        if stage in BEFORE_START:
            stage = Stage.ASKED
        elif stage in IN_DATA_PROCESS:
            stage = Stage.STARTED
        return (stage, self.manifest, self.result, self.ending)

    @property
    def takes_slot(self) -> bool:
        """Whether it uses one of an MPC server's slots."""
        return Duty.COMPUTE in self.duties and (
            self.stage is Stage.ACCEPTED or self.stage in IN_DATA_PROCESS
        )

    def time_of(self, name: str) -> int | None:
        """Return when something happened first, in milliseconds."""
        return next((at for what, at in self.times if what == name), None)


@dataclass(frozen=True, slots=True)
class Revocations:
    """What the manager's last notice said; of none so far, none is revoked.

    ``number``: how many there ever were. ``principals``: with a certificate that
    would still be good.
    """

    number: int = 0
    principals: frozenset[Principal] = frozenset()


@dataclass(frozen=True, slots=True)
class Party:
    """The participant as the machine sees it in one step.

    ``spkis``: hashes of every TLS key that its data process holds. ``spki``,
    ``endorse``, ``endorse_sig``: of the session in use.
    """

    rules: Rules
    spkis: frozenset[bytes]
    slots_free: int
    spki: bytes = b""
    endorse: bytes = b""
    endorse_sig: bytes = b""
    revocations: Revocations = Revocations()


@dataclass(frozen=True, slots=True)
class Asked:
    """The user of this participant asks for a job."""

    job: JobId
    spec: bytes
    spec_sig: bytes
    result_key: KemKey
    deadline: int
    result_exp: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The user of this participant gives the job up."""


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """The manager answered a request for this job with an ``err``."""

    code: ErrorCode


@dataclass(frozen=True, slots=True)
class SessionBegan:
    """There is a new session: what is open is asked for again."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The job comes from the journal of a process that ended."""


@dataclass(frozen=True, slots=True)
class DataReady:
    """The data are there. ``size``: bytes of the file."""

    epoch: int
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class DataRefused:
    """The data are not usable for this job."""

    epoch: int
    code: RefusalCode
    reason: str


@dataclass(frozen=True, slots=True)
class Reached:
    """The data process reached a phase: ``linked``, ``running``, and so on."""

    epoch: int
    stage: Stage
    at: int
    elapsed_ms: int
    bytes_in: int
    bytes_out: int
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Broke:
    """The data process gave this party's part up."""

    epoch: int
    at: int
    code: FailureCode
    peer: Principal | None
    reason: str


@dataclass(frozen=True, slots=True)
class DataProcessLost:
    """The data process ended, and with it links, shares and TLS keys."""


DataEvent = DataReady | DataRefused | Reached | Broke | DataProcessLost
JobEvent = (
    Asked
    | Cancelled
    | RequestRefused
    | SessionBegan
    | Recovered
    | DataEvent
    | Received
    | TimerFired
)


@dataclass(frozen=True, slots=True)
class PeerPlan:
    """A party that this one talks to; everything is checked."""

    principal: Principal
    role: Role
    party: int | None
    duties: tuple[Duty, ...]
    spki: bytes
    sig_pk: bytes
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepare:
    """Let the data process read and check the data."""

    job: JobId
    epoch: int
    spec: bytes
    dataset: str


@dataclass(frozen=True, slots=True)
class Run:
    """Let the data process do this party's part.

    ``peers``: those that it talks with, in the manifest's order. ``sources``: how many
    the manifest names, of whom a client knows itself only.
    """

    state: PartyJob
    manifest_hash: bytes
    peers: tuple[PeerPlan, ...]
    sources: int
    own_spki: bytes
    tickets: tuple[ServerTicket, ...] | None
    fetch_only: bool = False
    endorse: bytes | None = None
    endorse_sig: bytes | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Let the data process forget a job. ``discards``: delete its files too."""

    job: JobId
    code: FailureCode
    discards: bool


@dataclass(frozen=True, slots=True)
class RecordPins:
    """Write these pins down before anything that follows."""

    pins: tuple[Pin, ...] = field(default=())


JobEffect = Send | SetTimer | CancelTimer | Prepare | Run | Stop | RecordPins
