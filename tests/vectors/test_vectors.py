"""The wire format is what the checked-in vectors say, byte for byte."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from participant.protocol.ap_exchange import Client, ServedJob, admit
from participant.protocol.peer_hello import LinkFacts
from shared import envelope
from shared import token as tokens
from shared.clock import from_ms
from shared.crypto.keys import KemKey, SigningKey
from shared.envelope import Addressing, Clear, DroppedError, DropReason, SessionSeal
from shared.errors import ConfigError, RemoteProtocolError
from shared.messages import CATALOGUE, Limits, Rule, read, unpack
from shared.names import (
    MANAGER,
    Duty,
    Fingerprint,
    Io,
    JobId,
    KeyId,
    MessageId,
    Principal,
    Realm,
    Role,
    SessionId,
    duties_allowed,
)
from shared.protocol.machine import Context
from shared.protocol.window import Verdict, Window, judge
from tests.vectors.refusals import refusals
from tests.vectors.samples import JOB, MESSAGES, NOW, SOURCE, STRUCTURES, octets

FOLDER = Path(__file__).parent
ENVELOPES = json.loads((FOLDER / "envelopes.json").read_text())
PACKED = json.loads((FOLDER / "structures.json").read_text())
REFUSALS = json.loads((FOLDER / "refusals.json").read_text())


@dataclass(frozen=True)
class VectorDirectory:
    """Knows exactly the keys of one vector."""

    session: bytes
    kem: bytes
    public: bytes

    def knows(self, header: envelope.Header, rule: Rule) -> bool:
        """Everybody may send in a vector."""
        return bool(header.s and rule)

    def session_key(self, header: envelope.Header) -> bytes:
        """There is one session."""
        assert header.sid is not None
        return self.session

    def kem_keys(self) -> tuple[KemKey, ...]:
        """There is one KEM key."""
        return (KemKey.from_bytes(self.kem),)

    def verify_key(self, header: envelope.Header, payload: bytes) -> bytes | None:
        """There is one signer."""
        assert payload
        key = SigningKey.from_seed(octets("signer", 32))
        return self.public if header.kid == KeyId(key.kid) else None


def test_every_message_and_structure_has_a_vector() -> None:
    """A message without a vector could change unnoticed."""
    assert set(CATALOGUE) == set(ENVELOPES)
    assert set(STRUCTURES) | set(CATALOGUE) == set(PACKED)


@pytest.mark.parametrize("name", sorted(PACKED))
def test_a_structure_packs_to_its_vector_and_back(name: str) -> None:
    """Both directions, so that neither writer nor reader can drift."""
    structure = {**STRUCTURES, **MESSAGES}[name]
    data = bytes.fromhex(PACKED[name]["packed"])

    assert data == structure.pack()
    assert structure == unpack(type(structure), data)


@pytest.mark.parametrize("name", sorted(ENVELOPES))
def test_an_envelope_vector_opens_to_its_message(name: str) -> None:
    """The receiver pipeline reads what was written once and for all."""
    vector = ENVELOPES[name]
    directory = VectorDirectory(
        bytes.fromhex(vector["session_key"]),
        bytes.fromhex(vector["kem_secret"]),
        bytes.fromhex(vector["signing_public"]),
    )

    sealed = envelope.parse(bytes.fromhex(vector["envelope"]))
    envelope.check(sealed, vector["me"], directory, vector["now_ms"])
    proven = envelope.prove(
        sealed, directory, Fingerprint(bytes.fromhex(vector["fingerprint"]))
    )

    assert bytes.fromhex(vector["payload"]) == proven.payload
    assert read(name, proven.payload) == envelope.message_of(proven)


@pytest.mark.parametrize(
    "name", [name for name in sorted(ENVELOPES) if not ENVELOPES[name]["open_only"]]
)
def test_an_envelope_seals_to_its_vector(name: str) -> None:
    """Suites 2 and 3 are deterministic once nonce and mid are given."""
    vector = ENVELOPES[name]
    up = vector["me"] == MANAGER
    protection: SessionSeal | Clear = Clear()
    if vector["suite"] == 2:
        protection = SessionSeal(
            SessionId(octets("sid", 16)),
            5,
            bytes.fromhex(vector["session_key"]),
            octets("n " + name, 24),
        )
    addressing = Addressing(
        sender=SOURCE if up else MANAGER,
        recipient=vector["me"],
        mid=MessageId(octets(f"mid {name}", 16)),
        now_ms=NOW,
        lifetime_ms=60_000,
        job=JOB if name.startswith("job.") else None,
    )
    sealed = envelope.seal(
        MESSAGES[name],
        addressing,
        protection,
        SigningKey.from_seed(bytes.fromhex(vector["signing_seed"])),
        Fingerprint(bytes.fromhex(vector["fingerprint"])),
    )

    assert bytes.fromhex(vector["envelope"]) == sealed


@dataclass(frozen=True)
class Known:
    """A directory with what a vector says that its receiver knows."""

    state: dict[str, Any]

    def knows(self, header: envelope.Header, rule: Rule) -> bool:
        """Whoever is listed."""
        return header.s in self.state["senders"] and bool(rule)

    def session_key(self, header: envelope.Header) -> bytes:
        """Of the sender's own session."""
        assert header.sid is not None
        key = self.state["sessions"].get(header.sid.hex())
        if key is None:
            raise DroppedError(DropReason.SESSION, header)
        return bytes.fromhex(key)

    def kem_keys(self) -> tuple[KemKey, ...]:
        """All that are listed."""
        secrets = self.state["kem_secrets"]
        return tuple(KemKey.from_bytes(bytes.fromhex(each)) for each in secrets)

    def verify_key(self, header: envelope.Header, payload: bytes) -> bytes | None:
        """The sender's, whatever key id the header names."""
        assert payload is not None
        return bytes.fromhex(self.state["senders"][header.s]["key"])


def received(vector: dict[str, Any]) -> str:
    """Walk the receiver pipeline; return why it stops, or that it does not."""
    state = vector["receiver"]
    known = Known(state)
    try:
        sealed = envelope.parse(bytes.fromhex(vector["envelope"]))
        envelope.check(sealed, state["me"], known, state["now_ms"])
        realm = Fingerprint(bytes.fromhex(state["fingerprint"]))
        proven = envelope.prove(sealed, known, realm)
        header = proven.header
        window = Window()
        for number in state["window"]["seen"]:
            window = window.with_seen(number)
        handled = state["handled"].get(header.mid.hex())
        verdict = judge(
            window,
            header.seq,
            proven.digest,
            None if handled is None else bytes.fromhex(handled),
            None,
        )
        if header.sid is not None and verdict is not Verdict.HANDLE:
            return str(verdict.value)
        envelope.message_of(proven)
    except DroppedError as error:
        return str(error.reason.value)
    sender = state["senders"][header.s]
    role, io = Role(sender["role"]), Io(sender["io"]) if sender["io"] else None
    duties = duties_allowed(role, io)
    is_allowed = role in sealed.rule.roles and sealed.rule.duty in {None, *duties}
    return "ok" if is_allowed else "forbidden"


def served_job(state: dict[str, Any]) -> tuple[ServedJob, LinkFacts]:
    """Return what an MPC server knows of a job and of a link."""
    clients = {
        Principal(name): Client(
            bytes.fromhex(each["spki"]),
            bytes.fromhex(each["key"]),
            frozenset(Duty(duty) for duty in each["duties"]),
        )
        for name, each in state["clients"].items()
    }
    job = ServedJob(
        server=Principal(state["server"]),
        realm=Realm(state["realm"]),
        fingerprint=Fingerprint(bytes.fromhex(state["fingerprint"])),
        job=JobId(bytes.fromhex(state["job"])),
        epoch=state["epoch"],
        manifest_hash=bytes.fromhex(state["manifest_hash"]),
        ticket_key=bytes.fromhex(state["ticket_key"]),
        clients=clients,
    )
    own_leaf, peer_leaf, own_spki, peer_spki = (
        bytes.fromhex(state[name])
        for name in ("own_leaf", "peer_leaf", "own_spki", "peer_spki")
    )
    return job, LinkFacts(own_leaf, peer_leaf, own_spki, peer_spki, state["peer_name"])


def admitted(vector: dict[str, Any]) -> str:
    """Let the AP exchange's server half decide."""
    state = vector["server"]
    job, facts = served_job(state)
    now = Context(from_ms(state["now_ms"]), bytes)
    spent = frozenset(bytes.fromhex(each) for each in state["spent"])
    limits = Limits(max_frame=1 << 20, max_bytes=1 << 20)
    nonce, body = bytes.fromhex(state["server_nonce"]), bytes.fromhex(vector["body"])
    try:
        admit(job, facts, nonce, body, spent, limits, now)
    except RemoteProtocolError:
        return "closed"
    return "admitted"


def token_read(vector: dict[str, Any]) -> str:
    """Read an enrolment token."""
    try:
        tokens.parse(vector["token"])
    except ConfigError:
        return "refused"
    return "ok"


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_what_has_to_be_refused_is_refused_for_its_reason(name: str) -> None:
    """And what stands beside it, and has to be taken, is taken."""
    vector = REFUSALS[name]
    replay = {"envelope": received, "ap.req": admitted, "token": token_read}

    assert replay[vector["kind"]](vector) == vector["expected"]


def test_every_reason_that_bytes_can_give_has_a_vector() -> None:
    """The others come from AMQP's properties, from a rate, or from what is stored."""
    seen = {each["expected"] for each in REFUSALS.values() if "receiver" in each}
    unseen = {
        DropReason.USER_ID: "a property of the AMQP delivery",
        DropReason.COPIES: "likewise",
        DropReason.RATE: "how much came before",
        DropReason.SUPERSEDED: "a later session of the sender",
        DropReason.REPLAY: "a nonce that was used",
    }

    assert seen - {"ok"} == set(DropReason) - set(unseen)


def test_the_vectors_are_those_that_the_samples_make() -> None:
    """Sealing to a public key draws randomness; nothing else does."""
    fresh = refusals()

    assert set(fresh) == set(REFUSALS)
    assert {
        name
        for name, vector in fresh.items()
        if vector != REFUSALS[name] and "sealed" not in name
    } == set()
