"""What is fuzzed: each target reads bytes, and may refuse them in its own words only.

A target that returns has read them, and then what it read must hold: what is canonical
packs to the same bytes again, what is signed was signed.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from participant.dataplane.frames import FrameDecoder
from participant.home.identity_file import StoredEnrolment, StoredIdentity
from participant.protocol.ap_exchange import Call, admit, check_reply, job_of_request
from participant.protocol.peer_hello import (
    LinkFacts,
    PeeredJob,
    Server,
    check_peer_hello,
    job_of_hello,
    read_link_hello,
)
from participant.protocol.trust import check_descriptor
from shared import codec, envelope
from shared import token as tokens
from shared.crypto.certificates import read_csr, read_leaf
from shared.crypto.keyfile import open_key_file, seal_key_file
from shared.crypto.sealing import NONCE_BYTES
from shared.envelope import DroppedError, seal_payload
from shared.errors import (
    CodecError,
    ConfigError,
    CryptoError,
    DecodeError,
    JobAbortedError,
    RemoteProtocolError,
)
from shared.messages import CATALOGUE, Limits, SignedRealm, Structure, read, unpack
from shared.names import Fingerprint, JobId, Principal
from shared.protocol.machine import Context
from tests.vectors.refusals import (
    ADDRESS,
    BODY,
    CLIENT_LEAF,
    CLIENT_NONCE,
    CLIENT_SPKI,
    MANIFEST,
    NAME,
    REALM,
    SERVER_LEAF,
    SERVER_NONCE,
    SERVER_SPKI,
    SESSION,
    SIGNER,
)
from tests.vectors.samples import JOB, MESSAGES, NOW, SERVER, SOURCE, STRUCTURES
from tests.vectors.test_vectors import ENVELOPES, REFUSALS, Known, served_job

MODELS: tuple[type[Structure], ...] = (
    *dict.fromkeys(type(each) for each in STRUCTURES.values()),
    StoredIdentity,
    StoredEnrolment,
)
Target = Callable[[bytes], None]

MADE = tuple(REFUSALS.values())
"""As they lie in the file: sealing to a public key draws randomness."""
PROGRAM = "FUZZ_PROGRAM"
"""In the environment: by which name libFuzzer starts itself again."""
NAMES = sorted(CATALOGUE)
RECEIVER = next(v for v in MADE if v["kind"] == "envelope")["receiver"]
SERVED, FACTS = served_job(next(v for v in MADE if v["kind"] == "ap.req")["server"])
CONTEXT = Context(datetime.fromtimestamp(NOW / 1000, UTC), bytes)
LIMITS = Limits(max_frame=1 << 20, max_bytes=1 << 20)
CALL = Call(SOURCE, SERVER, JobId(JOB), 1, MANIFEST, b"ticket", BODY.k_cs)
AT_CLIENT = LinkFacts(CLIENT_LEAF, SERVER_LEAF, CLIENT_SPKI, SERVER_SPKI, "")
PEERED = PeeredJob(
    0,
    NAME,
    JobId(JOB),
    1,
    MANIFEST,
    {1: Server(Principal("MPC_server_002"), CLIENT_SPKI)},
)


class FindingError(AssertionError):
    """Something that a reader must not do."""


def read_codec(data: bytes) -> None:
    """The one form of msgpack."""
    try:
        value = codec.decode(data)
    except CodecError:
        return
    again = codec.encode(value)
    if codec.decode(again) != value:
        raise FindingError("what was packed reads as something else")


def receive(data: bytes) -> None:
    """The receiver pipeline, from the first byte on."""
    known = Known(RECEIVER)
    try:
        sealed = envelope.parse(data)
        envelope.check(sealed, RECEIVER["me"], known, NOW)
        proven = envelope.prove(sealed, known, REALM)
        envelope.message_of(proven)
    except DroppedError:
        return
    if proven.digest.hex() not in GENUINE:
        raise FindingError("an envelope that nobody sealed was taken")


def receive_sealed(data: bytes) -> None:
    """The same with a payload that its sender did seal: behind the cryptography."""
    name = NAMES[data[0] % len(NAMES)] if data else NAMES[0]
    known = Known(RECEIVER)
    whole = seal_payload(name, data[1:65536], ADDRESS, SESSION, SIGNER, REALM)
    sealed = envelope.parse(whole)
    proven = envelope.prove(sealed, known, REALM)
    try:
        envelope.message_of(proven)
    except DroppedError:
        return


def read_messages(data: bytes) -> None:
    """Every message: what is read packs to what was read."""
    for name in NAMES:
        try:
            message = read(name, data)
        except DecodeError:
            continue
        if read(name, message.pack()) != message:
            raise FindingError(f"{name} packs to something else")


def read_structures(data: bytes) -> None:
    """Everything that is packed inside of messages, and what lies in key files."""
    for model in MODELS:
        try:
            structure = unpack(model, data)
        except DecodeError:
            continue
        if unpack(model, structure.pack()) != structure:
            raise FindingError(f"{model.__name__} packs to something else")


def read_frames(data: bytes) -> None:
    """The data plane's stream, in pieces whose sizes are in it."""
    decoder = FrameDecoder()
    at = 0
    try:
        while at < len(data):
            size = 1 + data[at] % 97
            decoder.feed(data[at : at + size])
            at += size
    except RemoteProtocolError:
        return
    if decoder.buffered_bytes > len(data):
        raise FindingError("more is kept than came")


def exchange_ap(data: bytes) -> None:
    """Both ends of the AP exchange, and the hellos of a link."""
    readers: Iterable[Callable[[bytes], object]] = (
        job_of_request,
        job_of_hello,
        read_link_hello,
        lambda body: admit(
            SERVED, FACTS, SERVER_NONCE, body, frozenset(), LIMITS, CONTEXT
        ),
        lambda body: check_reply(CALL, AT_CLIENT, SERVER_NONCE, CLIENT_NONCE, body),
        lambda body: check_peer_hello(PEERED, FACTS, body, None),
    )
    for reader in readers:
        try:
            answer = reader(data)
        except (RemoteProtocolError, JobAbortedError):
            continue
        if getattr(answer, "client", None) is not None and data not in ASKED:
            raise FindingError(
                "somebody was admitted with a ticket that was never asked"
            )


def read_key_file(data: bytes) -> None:
    """A key file without a password; one with a password costs seconds."""
    try:
        open_key_file(data, None)
    except (DecodeError, ConfigError, CryptoError):
        return
    if data != KEY_FILE:
        raise FindingError("an altered key file was opened")


def read_token(data: bytes) -> None:
    """An enrolment token: what is read is written the same."""
    text = data.decode("latin-1")
    try:
        token = tokens.parse(text)
    except ConfigError:
        return
    if token.text() != text.strip():
        raise FindingError("two spellings of one token")


def read_certificates(data: bytes) -> None:
    """A leaf, a request for one, and a realm's descriptor."""
    for reader in (read_leaf, read_csr):
        try:
            reader(data)
        except CryptoError:
            continue
    half = len(data) // 2
    for body in (data, data[:half]):
        if not 1 <= len(body) <= 65536:
            continue
        signed = SignedRealm(rd=body, sig=data[-64:].ljust(64, b"\0"))
        try:
            check_descriptor(signed, Fingerprint(REALM), 1)
        except RemoteProtocolError:
            continue
        raise FindingError("a descriptor that nobody signed was taken")


TARGETS: Mapping[str, Target] = {
    "codec": read_codec,
    "envelope": receive,
    "sealed": receive_sealed,
    "messages": read_messages,
    "structures": read_structures,
    "frames": read_frames,
    "ap": exchange_ap,
    "keyfile": read_key_file,
    "token": read_token,
    "certificates": read_certificates,
}

KEY_FILE = seal_key_file(b"what it keeps", None, bytes(16), bytes(NONCE_BYTES))
GENUINE = frozenset(
    hashlib.sha256(bytes.fromhex(vector["envelope"])).hexdigest()
    for vector in (*MADE, *ENVELOPES.values())
    if "envelope" in vector
)
ASKED = frozenset(
    bytes.fromhex(vector["body"])
    for vector in MADE
    if vector["kind"] == "ap.req" and vector["expected"] == "admitted"
)


def seeds(target: str) -> list[bytes]:
    """Return inputs to begin with: the vectors, as far as the target reads them."""
    made = MADE
    packed = [each.pack() for each in (*STRUCTURES.values(), *MESSAGES.values())]
    envelopes = [bytes.fromhex(v["envelope"]) for v in made if v["kind"] == "envelope"]
    return {
        "codec": packed,
        "envelope": [
            *envelopes,
            *(bytes.fromhex(v["envelope"]) for v in ENVELOPES.values()),
        ],
        "sealed": [
            bytes([NAMES.index(name)]) + message.pack()
            for name, message in MESSAGES.items()
        ],
        "messages": [message.pack() for message in MESSAGES.values()],
        "structures": [each.pack() for each in STRUCTURES.values()],
        "frames": [b"\0\0\0\1\x09" * 3, b"\0\0\0\x09\5" + bytes(8), b"\0\0\0\5\4data"],
        "ap": [bytes.fromhex(v["body"]) for v in made if v["kind"] == "ap.req"],
        "keyfile": [KEY_FILE],
        "token": [v["token"].encode() for v in made if v["kind"] == "token"],
        "certificates": [each.pack() for each in STRUCTURES.values()],
    }[target]
