"""A key file opens with its password and refuses everything else."""

import resource
import struct
import time
from pathlib import Path

import pytest

from shared.crypto.keyfile import open_key_file, seal_key_file
from shared.errors import ConfigError, CryptoError, DecodeError, UnsealError

SALT = bytes(range(16))
NONCE = bytes(range(24))
CHEAPEST = {"ops": 3, "mem_kib": 64 * 1024}
HEADER_BYTES = 54
OPS_AT, MEMORY_AT = 6, 10


@pytest.fixture(scope="module")
def sealed() -> bytes:
    """A file with the lowest costs, made once."""
    return seal_key_file(b"keys", b"password", SALT, NONCE, **CHEAPEST)


def with_costs(data: bytes, ops: int, mem_kib: int) -> bytes:
    """Return the file with other costs written into it."""
    return data[:OPS_AT] + struct.pack(">II", ops, mem_kib) + data[14:]


def test_a_file_has_the_layout_of_the_protocol(sealed: bytes) -> None:
    """Another release must be able to read it."""
    expected = b"MPXK\x01\x01" + struct.pack(">II", 3, 65536) + SALT + NONCE

    assert expected == sealed[:HEADER_BYTES]
    assert HEADER_BYTES + len(b"keys") + 16 == len(sealed)


def test_the_default_costs_are_three_passes_over_256_mib() -> None:
    """Nobody has to choose them."""
    data = seal_key_file(b"keys", b"password", SALT, NONCE)

    assert struct.pack(">II", 3, 256 * 1024) == data[OPS_AT : OPS_AT + 8]
    assert open_key_file(data, b"password") == b"keys"


def test_a_file_opens_with_its_password_alone(sealed: bytes) -> None:
    """A wrong one is told from a missing one."""
    assert open_key_file(sealed, b"password") == b"keys"
    with pytest.raises(UnsealError, match="the password is wrong") as wrong:
        open_key_file(sealed, b"passwore")
    with pytest.raises(ConfigError, match="has a password and none was given") as none:
        open_key_file(sealed, None)

    assert wrong.value.hint
    assert none.value.hint


@pytest.mark.parametrize("position", [14, 29, 30, 53, 54, 57, 73])
def test_a_flipped_bit_is_found(sealed: bytes, position: int) -> None:
    """Salt, nonce, ciphertext and tag are all covered."""
    altered = bytearray(sealed)
    altered[position] ^= 1
    with pytest.raises(UnsealError):
        open_key_file(bytes(altered), b"password")


@pytest.mark.parametrize(
    ("ops", "mem_kib"),
    [
        (1, 65536),
        (0, 65536),
        (11, 65536),
        (2**32 - 1, 65536),
        (3, 65535),
        (3, 0),
        (3, 1024 * 1024 + 1),
        (3, 100 * 1024 * 1024),
        (3, 2**32 - 1),
    ],
)
def test_costs_out_of_bounds_are_refused_before_they_are_paid(
    sealed: bytes, ops: int, mem_kib: int
) -> None:
    """Lowered costs help a guesser, raised ones stop the machine."""
    start = time.process_time()
    with pytest.raises(UnsealError, match="out of bounds"):
        open_key_file(with_costs(sealed, ops, mem_kib), b"password")

    assert time.process_time() - start < 0.02
    with pytest.raises(ConfigError, match="out of bounds"):
        seal_key_file(b"keys", b"password", SALT, NONCE, ops, mem_kib)


def test_other_costs_within_bounds_do_not_open_either(sealed: bytes) -> None:
    """The header is authenticated."""
    with pytest.raises(UnsealError):
        open_key_file(with_costs(sealed, 4, 65536), b"password")


def test_a_file_without_a_password_still_finds_damage() -> None:
    """It hides nothing; only its mode protects it."""
    data = seal_key_file(b"keys", None, SALT, NONCE)

    assert b"MPXK\x01\x00" + bytes(8) == data[:14]
    assert open_key_file(data, None) == b"keys"
    for position in range(OPS_AT, len(data)):
        altered = bytearray(data)
        altered[position] ^= 1
        with pytest.raises(UnsealError):
            open_key_file(bytes(altered), None)


def test_a_password_for_a_file_without_one_is_refused() -> None:
    """Whoever types one believes that the file is encrypted."""
    data = seal_key_file(b"keys", None, SALT, NONCE)
    with pytest.raises(ConfigError, match="the key file has none"):
        open_key_file(data, b"password")


def test_a_stripped_password_does_not_open(sealed: bytes) -> None:
    """Turning kdf 1 into kdf 0 gives no key."""
    with pytest.raises(UnsealError):
        open_key_file(sealed[:5] + b"\0" + sealed[6:], None)


@pytest.mark.parametrize("length", range(HEADER_BYTES + 16))
def test_a_short_file_is_no_key_file(sealed: bytes, length: int) -> None:
    """A truncated write is named for what it is."""
    with pytest.raises(DecodeError, match="not a key file"):
        open_key_file(sealed[:length], b"password")


@pytest.mark.parametrize("start", [b"MPXJ\x01\x01", b"MPXK\x02\x01", b"MPXK\x01\x02"])
def test_another_kind_version_or_kdf_is_refused(sealed: bytes, start: bytes) -> None:
    """There is no silent fallback."""
    with pytest.raises(DecodeError):
        open_key_file(start + sealed[6:], b"password")


def test_an_empty_password_is_not_one() -> None:
    """It would look encrypted and not be."""
    with pytest.raises(ConfigError, match="empty"):
        seal_key_file(b"keys", b"", SALT, NONCE, **CHEAPEST)


@pytest.mark.parametrize(("salt", "nonce"), [(SALT[1:], NONCE), (SALT, NONCE[1:])])
def test_salt_and_nonce_have_their_lengths(salt: bytes, nonce: bytes) -> None:
    """A short one would be padded with zeros."""
    with pytest.raises(CryptoError):
        seal_key_file(b"keys", None, salt, nonce)


def test_too_little_memory_is_not_called_a_wrong_password(sealed: bytes) -> None:
    """The user would look for the mistake in the wrong place."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), limits[1]))
    try:
        with pytest.raises(ConfigError, match="memory"):
            open_key_file(with_costs(sealed, 3, 1024 * 1024), b"password")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
