"""What a receiver has to refuse, byte for byte: inputs, state and the expected code."""

import base64
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from participant.protocol.ap_exchange import Call, request
from participant.protocol.peer_hello import LinkFacts
from shared import codec
from shared.crypto.certificates import spiffe_id
from shared.crypto.derivation import sha256
from shared.crypto.keys import KemKey, SigningKey
from shared.crypto.sealing import NONCE_BYTES
from shared.envelope import Addressing, Clear, KemSeal, SessionSeal, seal, seal_payload
from shared.envelope.layout import MAX_BODY_BYTES, MAX_HEADER_BYTES, PREFIX
from shared.errors import ErrorCode
from shared.messages import (
    ApRequest,
    Endorsement,
    ErrorNotice,
    JobQuery,
    LogOff,
    Status,
    TicketBody,
    unpack,
)
from shared.names import (
    MANAGER,
    Fingerprint,
    JobId,
    MessageId,
    Principal,
    Realm,
    Role,
    SessionId,
)
from shared.protocol.tickets import seal_ticket
from tests.vectors.samples import (
    FINGERPRINT,
    JOB,
    MESSAGES,
    NOW,
    SERVER,
    SOURCE,
    TICKET,
    octets,
)

Vector = dict[str, Any]

SIGNER = SigningKey.from_seed(octets("signer", 32))
THIEF = SigningKey.from_seed(octets("thief", 32))
KEM = KemKey.from_bytes(octets("kem secret", 32))
SID = SessionId(octets("sid", 16))
KEY = octets("k", 32)
REALM = Fingerprint(FINGERPRINT)
STATUS = Status(slots_free=0, slots=0, load=0)
ADDRESS = Addressing(SOURCE, MANAGER, MessageId(octets("mid refusal", 16)), NOW, 60_000)
SESSION = SessionSeal(SID, 5, KEY, octets("n refusal", 24))

RECEIVER: Vector = {
    "me": str(MANAGER),
    "now_ms": NOW,
    "fingerprint": FINGERPRINT.hex(),
    "senders": {
        str(SOURCE): {
            "key": SIGNER.public.hex(),
            "role": "client",
            "io": "input",
            "session": SID.hex(),
        }
    },
    "sessions": {SID.hex(): KEY.hex()},
    "kem_secrets": [KEM.secret.hex()],
    "window": {"highest": 4, "seen": [1, 2, 4]},
    "handled": {},
}
"""What the receiver of the envelopes knows, unless a vector says something else."""


def _status(**changes: object) -> bytes:
    address = replace(ADDRESS, **changes)  # type: ignore[arg-type]  # its fields
    return seal(STATUS, address, SESSION, SIGNER, REALM)


def _packed(header: object, body: bytes = bytes(120), suite: int = 2) -> bytes:
    data = header if isinstance(header, bytes) else codec.encode(header)  # type: ignore[arg-type]  # a map
    return PREFIX.pack(b"MPX", 1, suite, 0, len(data), len(body)) + data + body


def _header(**changes: object) -> dict[str, object]:
    whole = _status()
    length = PREFIX.unpack_from(whole)[4]
    header = codec.decode_map(whole[PREFIX.size : PREFIX.size + length])
    return {**header, **changes}


def _flipped(data: bytes, at: int) -> bytes:
    altered = bytearray(data)
    altered[at] ^= 1
    return bytes(altered)


def _payload(payload: bytes, name: str = "status") -> bytes:
    return seal_payload(name, payload, ADDRESS, SESSION, SIGNER, REALM)


def envelopes() -> dict[str, Vector]:
    """Return envelopes, each with what is expected of its receiver."""
    whole = _status()
    other = _status(mid=MessageId(octets("mid of another", 16)))
    header_end = PREFIX.size + PREFIX.unpack_from(whole)[4]
    digest = sha256(whole).hex()
    mid = ADDRESS.mid.hex()
    sealed = seal(MESSAGES["reg.done"], ADDRESS, KemSeal(KEM.public), SIGNER, REALM)
    cases: dict[str, tuple[bytes, str, Vector]] = {
        "session": (whole, "ok", {}),
        "sealed": (sealed, "ok", {}),
        "clear": (
            seal(ErrorNotice(code=ErrorCode.BUSY), ADDRESS, Clear(), SIGNER, REALM),
            "ok",
            {},
        ),
        "shorter than a prefix": (whole[: PREFIX.size - 1], "size", {}),
        "a byte is missing": (whole[:-1], "size", {}),
        "a byte too many": (whole + b"\0", "size", {}),
        "a header that is too long": (
            _packed(bytes(MAX_HEADER_BYTES + 1)),
            "size",
            {},
        ),
        "a body that is announced too long": (
            whole[:8] + struct.pack(">I", MAX_BODY_BYTES + 1) + whole[PREFIX.size :],
            "size",
            {},
        ),
        "another protocol": (b"XPM" + whole[3:], "version", {}),
        "another version": (whole[:3] + b"\2" + whole[4:], "version", {}),
        "a suite of no meaning": (whole[:4] + b"\x09" + whole[5:], "version", {}),
        "a flag": (whole[:5] + b"\1" + whole[6:], "version", {}),
        "a header that is no map": (_packed(b"\x90"), "header", {}),
        "a header with a strange key": (_packed(_header(x=1)), "header", {}),
        "a header without a key": (
            _packed({k: v for k, v in _header().items() if k != "re"}),
            "header",
            {},
        ),
        "a header with a key twice": (
            _packed(b"\x82\xa1s\xa1a\xa1s\xa1a"),
            "header",
            {},
        ),
        "a header with a negative number": (_packed(_header(seq=-1)), "header", {}),
        "a type that there is not": (_packed(_header(t="status2")), "header", {}),
        "sent by its receiver": (
            _status(sender=MANAGER),
            "reflection",
            {},
        ),
        "a message of the other way": (
            seal(MESSAGES["job.closed"], ADDRESS, SESSION, SIGNER, REALM),
            "reflection",
            {},
        ),
        "for somebody else": (_status(recipient=SERVER), "recipient", {}),
        "in clear what needs a session": (
            seal(STATUS, ADDRESS, Clear(), SIGNER, REALM),
            "suite",
            {},
        ),
        "a session suite without a session": (
            _packed(_header(sid=None)),
            "suite",
            {},
        ),
        "from nobody who is known": (
            _status(sender=Principal("Other001")),
            "sender",
            {},
        ),
        "after its time": (whole, "expired", {"now_ms": NOW + 60_001}),
        "in its last millisecond": (whole, "ok", {"now_ms": NOW + 60_000}),
        "two minutes ahead": (whole, "ok", {"now_ms": NOW - 120_000}),
        "further ahead": (whole, "clock_skew", {"now_ms": NOW - 120_001}),
        "a session that there is not": (whole, "session", {"sessions": {}}),
        "a ciphertext with a bit altered": (_flipped(whole, -1), "unseal", {}),
        "a nonce with a bit altered": (_flipped(whole, header_end), "unseal", {}),
        "a header over another ciphertext": (
            whole[:header_end] + other[-(len(whole) - header_end) :],
            "unseal",
            {},
        ),
        "under another session's key": (
            whole,
            "unseal",
            {"sessions": {SID.hex(): octets("k2", 32).hex()}},
        ),
        "sealed to another key": (sealed, "unseal", {"kem_secrets": []}),
        "a plaintext shorter than a signature": (
            _packed(_header(t="err", sid=None, seq=0), bytes(63), suite=3),
            "unseal",
            {},
        ),
        "signed by another key": (
            seal(STATUS, ADDRESS, SESSION, THIEF, REALM),
            "signature",
            {},
        ),
        "another key under the sender's key id": (
            whole,
            "signature",
            {
                "senders": {
                    str(SOURCE): {
                        **RECEIVER["senders"][str(SOURCE)],
                        "key": THIEF.public.hex(),
                    }
                }
            },
        ),
        "of another realm": (
            whole,
            "signature",
            {"fingerprint": octets("other realm", 32).hex()},
        ),
        "handled before": (whole, "dup", {"handled": {mid: digest}}),
        "another under its id": (
            whole,
            "equivocation",
            {"handled": {mid: octets("other", 32).hex()}},
        ),
        "another under its number": (
            whole,
            "equivocation",
            {"window": {"highest": 5, "seen": [4, 5]}},
        ),
        "left of the window": (
            whole,
            "stale",
            {"window": {"highest": 5 + 4096, "seen": [5 + 4096]}},
        ),
        "the last in the window": (
            whole,
            "ok",
            {"window": {"highest": 5 + 4095, "seen": [5 + 4095]}},
        ),
        "a payload of another type": (_payload(LogOff().pack()), "payload", {}),
        "a payload with a strange key": (
            _payload(codec.encode({**codec.decode_map(STATUS.pack()), "x": 1})),
            "payload",
            {},
        ),
        "a payload without a key": (
            _payload(codec.encode({"type": "status", "slots": 0, "load": 0})),
            "payload",
            {},
        ),
        "a payload with something behind": (
            _payload(STATUS.pack() + b"\xc0"),
            "payload",
            {},
        ),
        "a message of consumers, by a source": (
            seal(JobQuery(), ADDRESS, SESSION, SIGNER, REALM),
            "forbidden",
            {},
        ),
        "a message of consumers, by an MPC server": (
            seal(JobQuery(), ADDRESS, SESSION, SIGNER, REALM),
            "forbidden",
            {
                "senders": {
                    str(SOURCE): {
                        **RECEIVER["senders"][str(SOURCE)],
                        "role": "mpcs",
                        "io": None,
                    }
                }
            },
        ),
    }
    return {
        f"envelope: {name}": {
            "kind": "envelope",
            "envelope": data.hex(),
            "receiver": {**RECEIVER, **changes},
            "expected": expected,
        }
        for name, (data, expected, changes) in cases.items()
    }


# ---- ap.req ----

NAME = Realm("health")
MANIFEST = octets("mh", 32)
TICKET_KEY = octets("k_tkt", 32)
CLIENT_LEAF, SERVER_LEAF = octets("client leaf", 300), octets("server leaf", 300)
CLIENT_SPKI, SERVER_SPKI = octets("client spki", 32), octets("server spki", 32)
NEWER_SPKI = octets("newer spki", 32)
SERVER_NONCE, CLIENT_NONCE = octets("n_s", 16), octets("n_a", 16)
BODY = TICKET.model_copy(
    update={"mh": MANIFEST, "cnf_c": CLIENT_SPKI, "cnf_s": SERVER_SPKI}
)
SERVED: Vector = {
    "server": str(SERVER),
    "realm": str(NAME),
    "fingerprint": FINGERPRINT.hex(),
    "job": JOB.hex(),
    "epoch": 1,
    "manifest_hash": MANIFEST.hex(),
    "ticket_key": TICKET_KEY.hex(),
    "clients": {
        str(SOURCE): {
            "spki": CLIENT_SPKI.hex(),
            "key": SIGNER.public.hex(),
            "duties": ["input"],
        }
    },
    "own_leaf": SERVER_LEAF.hex(),
    "peer_leaf": CLIENT_LEAF.hex(),
    "own_spki": SERVER_SPKI.hex(),
    "peer_spki": CLIENT_SPKI.hex(),
    "peer_name": spiffe_id(NAME, Role.CLIENT, SOURCE),
    "server_nonce": SERVER_NONCE.hex(),
    "spent": [],
    "now_ms": NOW,
}
"""What the MPC server knows, unless a vector says something else."""


def _ticket(
    key: bytes = TICKET_KEY, server: Principal = SERVER, **changes: object
) -> bytes:
    body = unpack(TicketBody, BODY.model_copy(update=changes).pack())
    return seal_ticket(
        body, key, REALM, JobId(JOB), 1, server, octets("ticket nonce", NONCE_BYTES)
    )


def _asked(ticket: bytes | None = None, **changes: object) -> bytes:
    facts = LinkFacts(CLIENT_LEAF, SERVER_LEAF, CLIENT_SPKI, SERVER_SPKI, "")
    call = Call(SOURCE, SERVER, JobId(JOB), 1, MANIFEST, ticket or _ticket(), BODY.k_cs)
    body = request(call, facts, SERVER_NONCE, CLIENT_NONCE)
    asked = unpack(ApRequest, body)
    return asked.model_copy(update=changes).pack()


def _endorsed(signer: SigningKey = SIGNER, **changes: object) -> dict[str, bytes]:
    body = Endorsement(
        v=1,
        realm=FINGERPRINT,
        p=SOURCE,
        role=Role.CLIENT,
        spki=NEWER_SPKI,
        addrs=(),
        nbf=NOW - 1000,
        exp=NOW + 1000,
    ).model_copy(update=changes)
    packed = body.pack()
    return {
        "endorse": packed,
        "endorse_sig": signer.sign(b"MPX1-endorse\0", packed),
    }


def requests() -> dict[str, Vector]:
    """Return ap.req's, each with what is expected of the MPC server."""
    newer = {"peer_spki": NEWER_SPKI.hex()}
    moved = _ticket(cnf_c=NEWER_SPKI)
    cases: dict[str, tuple[bytes, str, Vector]] = {
        "as it should be": (_asked(), "admitted", {}),
        "with a newer endorsement": (_asked(moved, **_endorsed()), "admitted", newer),
        "no msgpack": (b"\xc1", "closed", {}),
        "longer than 8 KiB": (bytes(8193), "closed", {}),
        "another job": (_asked(job=JobId(octets("job 2", 16))), "closed", {}),
        "another epoch": (_asked(epoch=2), "closed", {}),
        "a ticket under another key": (_asked(_ticket(octets("x", 32))), "closed", {}),
        "a ticket of another server": (
            _asked(_ticket(server=Principal("MPC_server_002"))),
            "closed",
            {},
        ),
        "a ticket with a bit altered": (_asked(_flipped(_ticket(), 40)), "closed", {}),
        "a ticket in its last millisecond": (
            _asked(),
            "admitted",
            {"now_ms": BODY.exp - 1},
        ),
        "a ticket after its time": (_asked(), "closed", {"now_ms": BODY.exp}),
        "a ticket two minutes early": (
            _asked(),
            "admitted",
            {"now_ms": BODY.nbf - 120_000},
        ),
        "a ticket before its time": (
            _asked(),
            "closed",
            {"now_ms": BODY.nbf - 120_001},
        ),
        "a ticket of another manifest": (
            _asked(_ticket(mh=octets("other mh", 32))),
            "closed",
            {},
        ),
        "a ticket for another leaf of the server": (
            _asked(_ticket(cnf_s=octets("other spki", 32))),
            "closed",
            {},
        ),
        "a client that is not in the manifest": (_asked(), "closed", {"clients": {}}),
        "a ticket for another leaf of the client": (_asked(moved), "closed", {}),
        "a leaf that its client did not endorse": (_asked(moved), "closed", newer),
        "a newer endorsement by another key": (
            _asked(moved, **_endorsed(THIEF)),
            "closed",
            newer,
        ),
        "a newer endorsement of another realm": (
            _asked(moved, **_endorsed(realm=octets("other realm", 32))),
            "closed",
            newer,
        ),
        "a newer endorsement that has ended": (
            _asked(moved, **_endorsed(exp=NOW)),
            "closed",
            newer,
        ),
        "a leaf with another's name": (
            _asked(),
            "closed",
            {"peer_name": spiffe_id(NAME, Role.CLIENT, Principal("Other001"))},
        ),
        "a duty that the manifest does not give": (
            _asked(
                _ticket(az=BODY.az.model_copy(update={"dir": "both"})),
            ),
            "closed",
            {},
        ),
        "on another link": (
            _asked(),
            "closed",
            {"peer_leaf": octets("other leaf", 300).hex()},
        ),
        "with the nonce of before": (
            _asked(),
            "closed",
            {"server_nonce": octets("n_s 2", 16).hex()},
        ),
        "a MAC with a bit altered": (
            _asked(mac=_flipped(unpack(ApRequest, _asked()).mac, 0)),
            "closed",
            {},
        ),
        "a ticket that was spent": (_asked(), "closed", {"spent": [BODY.tid.hex()]}),
    }
    return {
        f"ap.req: {name}": {
            "kind": "ap.req",
            "body": data.hex(),
            "server": {**SERVED, **changes},
            "expected": expected,
        }
        for name, (data, expected, changes) in cases.items()
    }


def tokens() -> dict[str, Vector]:
    """Return enrolment tokens and what is none."""

    def b64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    secret = b64(octets("token id", 8) + octets("secret", 16))
    realm = b64(FINGERPRINT + struct.pack(">I", 1) + b"\1")
    url, ca = b64(b"amqps://broker.example:5671/health"), b64(octets("ca", 32))
    good = f"mpxe1.{secret}.{realm}.{url}.{ca}"
    cases: Mapping[str, tuple[str, str]] = {
        "as it should be": (good, "ok"),
        "without an authority": (f"mpxe1.{secret}.{realm}.{url}.", "ok"),
        "another version": ("mpxe2" + good[5:], "refused"),
        "a part is missing": (f"mpxe1.{secret}.{realm}.{url}", "refused"),
        "a secret that is too short": (
            f"mpxe1.{b64(bytes(23))}.{realm}.{url}.{ca}",
            "refused",
        ),
        "another spelling of the same bytes": (
            f"mpxe1.{secret}=.{realm}.{url}.{ca}",
            "refused",
        ),
        "a kind that there is not": (
            f"mpxe1.{secret}.{b64(FINGERPRINT + struct.pack('>I', 1) + bytes([9]))}.{url}.{ca}",
            "refused",
        ),
        "no letter of base64url": (
            f"mpxe1.{secret[:-1]}!.{realm}.{url}.{ca}",
            "refused",
        ),
        "longer than 1,024 characters": (good + "A" * 1024, "refused"),
    }
    return {
        f"token: {name}": {"kind": "token", "token": text, "expected": expected}
        for name, (text, expected) in cases.items()
    }


def refusals() -> dict[str, Vector]:
    """Return all of them, by name."""
    return {**envelopes(), **requests(), **tokens()}
