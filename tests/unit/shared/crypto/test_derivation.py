"""Every label and every order of the protocol, against a second computation."""

import base64
import hashlib
import hmac

import msgpack
import pytest

from shared.crypto import derivation
from shared.crypto.derivation import SessionKeys
from shared.errors import UnsealError
from shared.names import Fingerprint, JobId, Principal, Realm

F = Fingerprint(bytes(range(32)))
JOB = JobId(b"j" * 16)
CLIENT = Principal("Liberty001")
SERVER = Principal("MPC_server_001")


def h(data: bytes) -> bytes:
    """Return SHA-256."""
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SHA-256."""
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(key: bytes, info: bytes, blocks: int, salt: bytes = bytes(32)) -> bytes:
    """Return this many blocks of HKDF, as RFC 5869 defines it."""
    prk = mac(salt, key)
    block, output = b"", b""
    for number in range(1, blocks + 1):
        block = mac(prk, block + info + bytes([number]))
        output += block
    return output


def test_hkdf_is_that_of_rfc_5869() -> None:
    """RFC 5869, A.1."""
    output = derivation.hkdf(
        b"\x0b" * 22, bytes(range(0xF0, 0xFA)), 42, bytes(range(13))
    )

    assert (
        output.hex()
        == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_hashes_and_macs_run_over_the_parts_in_order() -> None:
    """A caller may hand over pieces without joining them."""
    assert h(b"abc") == derivation.sha256(b"a", b"", b"bc")
    assert mac(b"key", b"abc") == derivation.hmac_sha256(b"key", b"ab", b"c")


def test_equal_compares_whole_byte_strings() -> None:
    """It stands for == wherever a secret or a MAC is compared."""
    assert derivation.equal(b"ab", b"ab")
    assert not derivation.equal(b"ab", b"ac")
    assert not derivation.equal(b"ab", b"a")


def test_a_fingerprint_covers_realm_and_root() -> None:
    """Its text is what people compare: base32 without padding, in fours."""
    given = derivation.fingerprint(Realm("clinic"), b"r" * 32)
    text = derivation.fingerprint_text(given)

    assert h(b"MPX1-fpr\0clinic\0" + b"r" * 32) == given
    assert base64.b32encode(given).decode().rstrip("=") == text.replace("-", "")
    assert [len(group) for group in text.split("-")] == [4] * 13


def test_a_job_id_depends_on_realm_consumer_and_choice() -> None:
    """Nobody can take another's id by choosing the same sixteen bytes."""
    given = derivation.job_id(F, CLIENT, b"i" * 16)
    others = {
        derivation.job_id(Fingerprint(bytes(32)), CLIENT, b"i" * 16),
        derivation.job_id(F, Principal("Liberty002"), b"i" * 16),
        derivation.job_id(F, CLIENT, b"k" * 16),
    }

    assert h(b"MPX1-job\0" + msgpack.packb([F, CLIENT, b"i" * 16]))[:16] == given
    assert len(others - {given}) == 3


def test_spec_and_manifest_are_hashed_as_received() -> None:
    """A spec has a label, the manifest's signature carries the manifest's."""
    assert h(b"MPX1-spec\0spec") == derivation.spec_hash(b"spec")
    assert h(b"manifest") == derivation.manifest_hash(b"manifest")


def test_an_as_transcript_has_lengths() -> None:
    """Without them a byte could move from one half to the other."""
    given = derivation.as_transcript(b"request", b"core")

    assert h(b"MPX1-as\0\0\0\0\x07request\0\0\0\x04core") == given
    assert given != derivation.as_transcript(b"requestc", b"ore")


def test_session_keys_come_from_transcript_and_shared_secret() -> None:
    """Extract with the transcript as salt, expand to three keys."""
    transcript, secret = b"t" * 32, b"s" * 32
    keys = derivation.as_keys(transcript, secret)
    expected = expand(secret, b"MPX1 as", 3, transcript)

    assert expected == keys.up + keys.down + keys.confirm_key
    assert mac(keys.confirm_key, b"as.rep\0" + transcript) == derivation.as_confirm(
        keys.confirm_key, transcript
    )


def test_session_keys_do_not_show_themselves() -> None:
    """A named tuple would print its fields."""
    keys = SessionKeys(b"upup", b"down", b"conf")

    assert "SessionKeys(<redacted>)" == repr(keys) == str(keys)


@pytest.mark.parametrize("secret", [bytes(32), b""])
def test_an_all_zero_secret_gives_no_session(secret: bytes) -> None:
    """It is what a low-order key would have made of any other."""
    with pytest.raises(UnsealError):
        derivation.as_keys(b"t" * 32, secret)


def test_wrapping_keys_and_broker_passwords_have_their_labels() -> None:
    """HKDF without a salt, one block."""
    assert expand(b"k" * 32, b"MPX1 K_sess", 1) == derivation.next_session_key(
        b"k" * 32
    )
    assert expand(b"s" * 16, b"MPX1 broker", 1).hex() == derivation.broker_password(
        b"s" * 16
    )


def test_a_password_hash_is_rabbitmq_s() -> None:
    """RabbitMQ's documentation computes this one: "test12" with salt 908dc60a."""
    given = derivation.rabbitmq_password_hash("test12", bytes.fromhex("908dc60a"))

    assert given == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def test_a_channel_binding_covers_both_leaves_in_their_roles() -> None:
    """The client's leaf comes first, whoever computes it."""
    given = derivation.channel_binding(b"client", b"server")

    assert h(b"MPX1-cb\0" + h(b"client") + h(b"server")) == given
    assert given != derivation.channel_binding(b"server", b"client")


def test_ap_macs_cover_all_fields_in_the_order_of_the_protocol() -> None:
    """Request and reply differ in label and in who comes first."""
    key, mh, cb, ns, na, ns2 = (bytes([n]) * 32 for n in range(6))
    request = derivation.ap_request_mac(key, CLIENT, SERVER, JOB, 2, mh, cb, ns, na)
    reply = derivation.ap_reply_mac(
        key,
        SERVER,
        CLIENT,
        JOB,
        2,
        mh,
        cb,
        ns,
        na,
        {"max_frame": 9, "max_bytes": 7},
        ns2,
    )
    lim = {"max_bytes": 7, "max_frame": 9}

    assert (
        mac(
            key,
            b"MPX1-apreq\0" + msgpack.packb([CLIENT, SERVER, JOB, 2, mh, cb, ns, na]),
        )
        == request
    )
    assert (
        mac(
            key,
            b"MPX1-aprep\0"
            + msgpack.packb([SERVER, CLIENT, JOB, 2, mh, cb, ns, na, lim, ns2]),
        )
        == reply
    )
