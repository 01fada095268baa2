"""The wire format is what the checked-in vectors say, byte for byte."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared import envelope
from shared.crypto.keys import KemKey, SigningKey
from shared.envelope import Addressing, Clear, SessionSeal
from shared.messages import CATALOGUE, Rule, read, unpack
from shared.names import MANAGER, Fingerprint, KeyId, MessageId, SessionId
from tests.vectors.samples import JOB, MESSAGES, NOW, SOURCE, STRUCTURES, octets

FOLDER = Path(__file__).parent
ENVELOPES = json.loads((FOLDER / "envelopes.json").read_text())
PACKED = json.loads((FOLDER / "structures.json").read_text())


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
