"""docs/protocol.md describes the bytes, and nothing but the page is used to read them.

What the code makes is taken apart here with the libraries alone, by the offsets,
labels and formulas that stand on the page.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from nacl import bindings
from nacl.signing import VerifyKey

from participant.dataplane.frames import FrameType, encode_frame
from participant.engines.registry import engine
from participant.service.question import PROGRAM_VERSION, program_hash
from shared.crypto import derivation
from shared.crypto.keyfile import seal_key_file
from shared.crypto.keys import kid
from shared.messages import TicketAuthorisation, TicketBody
from shared.names import Fingerprint, JobId, Principal, Realm, Role, TokenId
from shared.protocol.tickets import seal_ticket
from shared.token import Token

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text()
ENVELOPES = json.loads((ROOT / "tests" / "vectors" / "envelopes.json").read_text())

A, B, C = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
ID, NONCE = b"i" * 16, b"n" * 16
CLIENT, SERVER = Principal("client001"), Principal("MPC_server_001")
LIMITS = {"max_bytes": 5, "max_frame": 4}

_LABEL = re.compile(r'"(MPX1[ -][\w-]+(?:\\0)?|MPXK no password\\0|as\.rep\\0)"')
LOCAL = {"MPX1-journal\\0"}
"""Of files that one participant writes for itself alone."""


def digest(*parts: bytes) -> bytes:
    """H of the page."""
    return hashlib.sha256(b"".join(parts)).digest()


def packed(value: object) -> bytes:
    """Mp of the page, of what is in order already."""
    return bytes(msgpack.packb(value))


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA-256."""
    return hmac.digest(key, b"".join(parts), "sha256")


def expanded(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF as RFC 5869 has it."""
    key, block, out = mac(salt or bytes(32), secret), b"", b""
    while len(out) < length:
        block = mac(key, block, info, bytes([len(out) // 32 + 1]))
        out += block
    return out[:length]


def code_labels() -> set[str]:
    """Return every label in the source, as it is written there."""
    return {
        label
        for folder in ("shared", "manager", "participant")
        for path in (ROOT / folder).rglob("*.py")
        for label in re.findall(r'b("(?:MPX|as\.rep)[^"]*")', path.read_text())
        for label in _LABEL.findall(label)
    }


def test_the_page_has_every_label_of_the_code() -> None:
    """A label that differs in one letter makes another protocol."""
    assert code_labels() - LOCAL == set(_LABEL.findall(PAGE))


def test_no_label_is_the_beginning_of_another() -> None:
    """What is signed for one purpose must not be readable as made for another."""
    labels = {label.replace("\\0", "\0") for label in code_labels()}
    ambiguous = [(a, b) for a in labels for b in labels if a != b and b.startswith(a)]

    assert len(labels) > 15
    assert ambiguous == []


class Formula(NamedTuple):
    """A line of the page, what it gives by hand, and what the code gives."""

    line: str
    expected: Callable[[], bytes]
    actual: Callable[[], bytes]


def keys() -> derivation.SessionKeys:
    """Return what the code derives for one transcript and secret."""
    return derivation.as_keys(A, B)


FORMULAS = (
    Formula(
        r'kid = H("MPX1-kid\0" || pk)[0:8]',
        lambda: digest(b"MPX1-kid\0", A)[:8],
        lambda: kid(A),
    ),
    Formula(
        r'F = H("MPX1-fpr\0" || realm name || "\0" || root public key)',
        lambda: digest(b"MPX1-fpr\0", b"health", b"\0", A),
        lambda: derivation.fingerprint(Realm("health"), A),
    ),
    Formula(
        r'job       = H("MPX1-job\0" || mp([F, consumer, id]))[0:16]',
        lambda: digest(b"MPX1-job\0", packed([A, CLIENT, ID]))[:16],
        lambda: derivation.job_id(Fingerprint(A), CLIENT, ID),
    ),
    Formula(
        r'spec_hash = H("MPX1-spec\0" || spec)',
        lambda: digest(b"MPX1-spec\0", B),
        lambda: derivation.spec_hash(B),
    ),
    Formula(
        "mh        = H(manifest)",
        lambda: digest(B),
        lambda: derivation.manifest_hash(B),
    ),
    Formula(
        r'program_hash = H("MPX1-program\0" || mp([statistic, engine, protocol, version, engine_version]))',
        lambda: digest(
            b"MPX1-program\0",
            packed(
                ["mean", "additive", "p", PROGRAM_VERSION, engine("additive").version]
            ),
        ),
        lambda: program_hash("mean", "additive", "p"),
    ),
    Formula(
        r'th    = H("MPX1-as\0" || u32 len || as.req payload as received || u32 len || core)',
        lambda: digest(b"MPX1-as\0", b"\0\0\0\x03", b"req", b"\0\0\0\x04", b"core"),
        lambda: derivation.as_transcript(b"req", b"core"),
    ),
    Formula(
        'keys  = HKDF(salt = th, secret = X25519(e_P, e_M), info = "MPX1 as", 96 bytes) = k_up || k_down || k_confirm',
        lambda: expanded(A, B, b"MPX1 as", 96),
        lambda: b"".join(keys()),
    ),
    Formula(
        r'confirm = HMAC-SHA-256(k_confirm, "as.rep\0" || th)',
        lambda: mac(A, b"as.rep\0", B),
        lambda: derivation.as_confirm(A, B),
    ),
    Formula(
        '`K_sess[n+1] = HKDF(K_sess[n], "MPX1 K_sess")`',
        lambda: expanded(b"", A, b"MPX1 K_sess", 32),
        lambda: derivation.next_session_key(A),
    ),
    Formula(
        '`hex(HKDF(secret, "MPX1 broker"))`',
        lambda: expanded(b"", ID, b"MPX1 broker", 32).hex().encode(),
        lambda: derivation.broker_password(ID).encode(),
    ),
    Formula(
        r'cb          = H("MPX1-cb\0" || H(client leaf DER) || H(server leaf DER))',
        lambda: digest(b"MPX1-cb\0", digest(b"client"), digest(b"server")),
        lambda: derivation.channel_binding(b"client", b"server"),
    ),
    Formula(
        r'ap.req mac  = HMAC-SHA-256(k_cs, "MPX1-apreq\0" || mp([c, s, job, epoch, mh, cb, n_s, n_a]))',
        lambda: mac(
            A, b"MPX1-apreq\0", packed([CLIENT, SERVER, ID, 7, B, C, NONCE, ID])
        ),
        lambda: derivation.ap_request_mac(
            A, CLIENT, SERVER, JobId(ID), 7, B, C, NONCE, ID
        ),
    ),
    Formula(
        r'ap.rep mac  = HMAC-SHA-256(k_cs, "MPX1-aprep\0" || mp([s, c, job, epoch, mh, cb, n_s, n_a, lim, next n_s]))',
        lambda: mac(
            A,
            b"MPX1-aprep\0",
            packed([SERVER, CLIENT, ID, 7, B, C, NONCE, ID, LIMITS, NONCE]),
        ),
        lambda: derivation.ap_reply_mac(
            A, SERVER, CLIENT, JobId(ID), 7, B, C, NONCE, ID, {**LIMITS}, NONCE
        ),
    ),
)


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda f: f.line[:20].strip())
def test_every_formula_gives_what_the_code_computes(formula: Formula) -> None:
    """The same key on both sides, or nothing opens."""
    assert formula.line in PAGE
    assert formula.expected() == formula.actual()


def rows(header: str) -> list[list[str]]:
    """Return the cells of the table with this header."""
    part = PAGE.partition(f"{header}\n")[2].partition("\n\n")[0]
    table = [line.strip("| ").split(" | ") for line in part.splitlines()[1:]]
    assert table
    return table


def cut(envelope: bytes) -> list[bytes]:
    """Return an envelope's fields by the offsets of the page."""
    table = rows("| offset | bytes | field |")
    starts = [int(row[0].partition(" ")[0]) for row in table]
    fields = [
        envelope[start : start + int(row[1])]
        for start, row in zip(starts, table, strict=True)
        if row[1].isdigit()
    ]
    n, body = (int.from_bytes(field) for field in fields[4:])
    assert len(envelope) == starts[-1] + n + body
    return [*fields[:4], envelope[12 : 12 + n], envelope[12 + n :]]


@pytest.mark.parametrize("name", sorted(ENVELOPES))
def test_an_envelope_is_read_by_its_description_alone(name: str) -> None:
    """Offsets, sealing, what is signed: all as the page says."""
    vector = ENVELOPES[name]
    envelope = bytes.fromhex(vector["envelope"])
    magic, version, suite, flags, header, body = cut(envelope)
    associated = envelope[: len(envelope) - len(body)]
    match suite[0]:
        case 1:
            kem = X25519PrivateKey.from_private_bytes(
                bytes.fromhex(vector["kem_secret"])
            )
            hpke = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
            plain = hpke.decrypt(body, kem, info=b"MPX1-seal\0" + associated)
        case 2:
            plain = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                body[24:], associated, body[:24], bytes.fromhex(vector["session_key"])
            )
        case _:
            plain = body
    realm = bytes.fromhex(vector["fingerprint"])
    signed = b"MPX1-env\0" + realm + hashlib.sha512(associated).digest() + plain[64:]

    assert (magic, version, flags) == (b"MPX", b"\1", b"\0")
    assert vector["suite"] == suite[0]
    assert msgpack.unpackb(header)["t"] == name == msgpack.unpackb(plain[64:])["type"]
    assert bytes.fromhex(vector["payload"]) == plain[64:]
    VerifyKey(bytes.fromhex(vector["signing_public"])).verify(signed, plain[:64])


def test_a_key_file_begins_as_described() -> None:
    """The line of the page is taken for the layout."""
    line = (
        '"MPXK" version:u8 kdf:u8 ops:u32 memory_kib:u32 salt[16] nonce[24] ciphertext'
    )
    salt, nonce = b"s" * 16, b"n" * 24
    data = seal_key_file(b"keys", None, salt, nonce)
    place, found = len(b"MPXK"), {}
    for name, bits, size in re.findall(r"(\w+)(?::u(\d+)|\[(\d+)\])", line):
        end = place + (int(bits) // 8 if bits else int(size))
        found[name] = data[place:end]
        place = end
    key = digest(b"MPXK no password\0", salt)
    plain = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
        data[place:], data[:place], nonce, key
    )

    assert f"    {line}\n" in PAGE
    assert data.startswith(b"MPXK")
    assert found == {
        "version": b"\1",
        "kdf": b"\0",
        "ops": bytes(4),
        "memory_kib": bytes(4),
        "salt": salt,
        "nonce": nonce,
    }
    assert plain == b"keys"


def test_a_token_is_made_of_what_the_page_says() -> None:
    """Another implementation can read it."""
    token = Token(TokenId(b"t" * 8), ID, Fingerprint(A), 3, "amqps://h/v", B, Role.MPCS)
    mark, who, realm, url, authority = token.text().split(".")

    assert (
        "mpxe1.<b64url(token_id[8] || secret[16])>.<b64url(F || min_epoch:u32 || kind:u8)>."
        in PAGE
    )
    assert mark == "mpxe1"
    assert unpadded(who) == b"t" * 8 + ID
    assert unpadded(realm) == A + b"\0\0\0\x03\x01"
    assert (unpadded(url), unpadded(authority)) == (b"amqps://h/v", B)


def unpadded(text: str) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_ticket_opens_by_its_description_alone() -> None:
    """Key, nonce and associated data are the page's."""
    body = TicketBody(
        tid=ID,
        mh=B,
        c=CLIENT,
        role="client",
        cnf_c=A,
        cnf_s=B,
        k_cs=C,
        az=TicketAuthorisation(dir="out", cols=(), max_bytes=0),
        nbf=1,
        exp=2,
    )
    nonce = b"n" * 24
    ticket = seal_ticket(body, C, Fingerprint(A), JobId(ID), 7, SERVER, nonce)
    bound = b"MPX1-ticket\0" + packed([A, ID, 7, SERVER])
    plain = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
        ticket[24:], bound, ticket[:24], C
    )

    assert (
        r'AAD = "MPX1-ticket\0" || mp([F, job, epoch, server]), mp(TicketBody))' in PAGE
    )
    assert msgpack.unpackb(plain)["tid"] == ID


def test_frames_have_the_types_and_lengths_of_the_page() -> None:
    """``len:u32 type:u8 body``, and the table."""
    numbers: dict[str, int] = {}
    for kinds, names, _ in rows("| type | | body |"):
        pairs = zip(kinds.split(", "), names.split(", "), strict=True)
        numbers |= {name: int(kind) for kind, name in pairs}
    empty = {"ACK", "DONE", "PING", "PONG"}

    assert "    len:u32 type:u8 body " in PAGE
    assert {kind.name: kind.value for kind in FrameType} == numbers
    for kind in FrameType:
        body = b"" if kind.name in empty else b"12345678"
        expected = (1 + len(body)).to_bytes(4) + bytes([kind]) + body
        assert expected == encode_frame(kind, body)
