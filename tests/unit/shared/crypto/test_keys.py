"""Signatures and key agreement, with the inputs that attackers choose."""

import copy
import pickle  # noqa: TID251 - to show that it is refused
from collections.abc import Callable

import pytest
from nacl import bindings

from shared.crypto.derivation import sha256
from shared.crypto.keys import (
    KemKey,
    SigningKey,
    check_kem_key,
    check_public_key,
    kid,
    verify,
)
from shared.errors import BadSignatureError, CryptoError, UnsealError

LABEL = b"MPX1-test\0"
ORDER = (1 << 252) + 27742317777372353535851937790883648493
PRIME = (1 << 255) - 19
# The order-8 points of edwards25519 and curve25519.
ORDER_8 = (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)
SMALL_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (PRIME - 1).to_bytes(32, "little"),
    *map(bytes.fromhex, ORDER_8),
]
SECOND_ENCODINGS = [
    PRIME.to_bytes(32, "little"),
    (PRIME + 1).to_bytes(32, "little"),
    (PRIME + 9).to_bytes(32, "little"),
    b"\xff" * 32,
]
LOW_ORDER_X25519 = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (PRIME - 1).to_bytes(32, "little"),
    PRIME.to_bytes(32, "little"),
    (PRIME + 1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]


def test_a_signature_is_ed25519_over_label_and_data() -> None:
    """RFC 8032, 7.1, test 2 has a one-byte message; ours is label and data."""
    key = SigningKey.from_seed(
        bytes.fromhex(
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
        )
    )
    public = bytes.fromhex(
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    )

    assert public == key.public
    assert bindings.crypto_sign(LABEL + b"data", key.seed + public)[:64] == key.sign(
        LABEL, b"data"
    )


def test_a_signature_verifies_and_only_for_what_was_signed() -> None:
    """Label, data, key and every bit of the signature count."""
    key = SigningKey.generate()
    signature = key.sign(LABEL, b"data")
    verify(key.public, LABEL, b"data", signature)
    wrong = [
        (key.public, b"MPX1-other\0", b"data", signature),
        (key.public, LABEL, b"datb", signature),
        (SigningKey.generate().public, LABEL, b"data", signature),
        (key.public, LABEL, b"data", signature[:-1]),
        (key.public, LABEL, b"data", signature + b"\0"),
        (key.public[:-1], LABEL, b"data", signature),
        (key.public + b"\0", LABEL, b"data", signature),
    ]
    for bit in range(512):
        altered = bytearray(signature)
        altered[bit // 8] ^= 1 << bit % 8
        wrong.append((key.public, LABEL, b"data", bytes(altered)))
    for public, label, data, given in wrong:
        with pytest.raises(BadSignatureError):
            verify(public, label, data, given)


def test_a_signature_with_s_not_below_the_order_is_refused() -> None:
    """S + L satisfies the equation too: a second signature from one."""
    key = SigningKey.generate()
    signature = key.sign(LABEL, b"data")
    larger = int.from_bytes(signature[32:], "little") + ORDER
    with pytest.raises(BadSignatureError):
        verify(
            key.public, LABEL, b"data", signature[:32] + larger.to_bytes(32, "little")
        )


@pytest.mark.parametrize("public", SMALL_ORDER + SECOND_ENCODINGS)
def test_a_small_order_or_second_encoding_is_no_public_key(public: bytes) -> None:
    """Under such a key R = S = 0 would verify for many messages."""
    with pytest.raises(CryptoError):
        check_public_key(public)
    for first in (bytes(32), (1).to_bytes(32, "little"), public):
        with pytest.raises(BadSignatureError):
            verify(public, LABEL, b"data", first + bytes(32))


def test_a_key_outside_the_prime_order_subgroup_is_refused() -> None:
    """A sound key plus a low-order point is no key that anybody generates."""
    mixed = bindings.crypto_core_ed25519_add(
        SigningKey.generate().public, bytes.fromhex(ORDER_8[0])
    )
    with pytest.raises(CryptoError):
        check_public_key(mixed)


def test_a_generated_key_is_sound_and_a_short_one_is_not() -> None:
    """The check refuses nothing that we make."""
    public = SigningKey.generate().public
    check_public_key(public)
    with pytest.raises(CryptoError):
        check_public_key(public[:-1])


def test_a_label_ends_in_nul() -> None:
    """Otherwise one label could begin another."""
    key = SigningKey.generate()
    with pytest.raises(CryptoError):
        key.sign(b"MPX1-test", b"data")
    with pytest.raises(CryptoError):
        verify(key.public, b"", b"data", bytes(64))


def test_a_seed_gives_the_same_key_again() -> None:
    """The key file keeps the seed alone."""
    key = SigningKey.generate()
    again = SigningKey.from_seed(key.seed)

    assert key.public == again.public
    with pytest.raises(CryptoError):
        SigningKey.from_seed(bytes(31))


def test_a_key_id_is_the_start_of_a_labelled_hash() -> None:
    """Both kinds of keys have ids by the same rule."""
    signing, kem = SigningKey.generate(), KemKey.generate()

    assert (
        sha256(b"MPX1-kid\0", signing.public)[:8] == signing.kid == kid(signing.public)
    )
    assert sha256(b"MPX1-kid\0", kem.public)[:8] == kem.kid


def test_both_sides_of_an_exchange_get_the_secret_of_rfc_7748() -> None:
    """RFC 7748, 6.1: Alice's and Bob's keys and their shared secret."""
    alice = KemKey.from_bytes(
        bytes.fromhex(
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
        )
    )
    bob = KemKey.from_bytes(
        bytes.fromhex(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
        )
    )
    expected = bytes.fromhex(
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    )

    assert expected == alice.exchange(bob.public) == bob.exchange(alice.public)
    assert alice.public == KemKey.from_bytes(alice.secret).public


@pytest.mark.parametrize("public", LOW_ORDER_X25519)
def test_a_low_order_point_is_refused(public: bytes) -> None:
    """With it the shared secret would be zero, known to everybody."""
    high_bit_set = public[:31] + bytes([public[31] | 0x80])
    for point in (public, high_bit_set):
        with pytest.raises(UnsealError):
            check_kem_key(point)
        with pytest.raises(UnsealError):
            KemKey.generate().exchange(point)


def test_a_sound_kem_key_passes_and_a_wrong_length_does_not() -> None:
    """The check refuses nothing that we make."""
    check_kem_key(KemKey.generate().public)
    check_kem_key((9).to_bytes(32, "little"))
    with pytest.raises(UnsealError):
        check_kem_key(bytes(31))
    with pytest.raises(CryptoError):
        KemKey.from_bytes(bytes(33))


@pytest.mark.parametrize("make", [SigningKey.generate, KemKey.generate])
def test_a_key_does_not_show_itself_and_cannot_be_pickled(
    make: Callable[[], SigningKey | KemKey],
) -> None:
    """A key must not reach a log, a trace or another process by accident."""
    key = make()
    shown = repr(key) + str(key) + f"{key!s}"

    assert "<redacted>" in shown
    secret = key.seed if isinstance(key, SigningKey) else key.secret

    assert secret.hex() not in shown
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copier(key)
