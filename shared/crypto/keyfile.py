"""The encrypted form of a key file, bytes in and bytes out.

Source: docs/protocol.md, section "Password". Layout, big-endian::

    "MPXK" version:u8 kdf:u8 ops:u32 memory_kib:u32 salt[16] nonce[24] ciphertext

With kdf 1 the key comes from a password by Argon2id. With kdf 0 there is no
password: the key follows from the file itself, which finds a damaged file and
hides nothing; only the file's mode (0600) protects it.
"""

import struct
from typing import Final

import nacl.exceptions
from nacl.pwhash import argon2id

from shared.crypto.derivation import sha256
from shared.crypto.sealing import NONCE_BYTES, TAG_BYTES, aead_open, aead_seal
from shared.errors import ConfigError, CryptoError, DecodeError, UnsealError

MAGIC: Final = b"MPXK"
VERSION: Final = 1
KDF_NONE: Final = 0
KDF_ARGON2ID: Final = 1
SALT_BYTES: Final = 16

DEFAULT_OPS: Final = 3
DEFAULT_MEMORY_KIB: Final = 256 * 1024
MIN_OPS: Final = 3
MAX_OPS: Final = 10
MIN_MEMORY_KIB: Final = 64 * 1024
MAX_MEMORY_KIB: Final = 1024 * 1024

_HEADER: Final = struct.Struct(f">4sBBII{SALT_BYTES}s{NONCE_BYTES}s")
_KEK_BYTES: Final = 32


def seal_key_file(
    payload: bytes,
    password: bytes | None,
    salt: bytes,
    nonce: bytes,
    ops: int = DEFAULT_OPS,
    mem_kib: int = DEFAULT_MEMORY_KIB,
) -> bytes:
    """Return the bytes of a key file.

    Args:
        payload: what the file keeps.
        password: None gives a file that is checked for damage but not secret.
        salt: 16 random bytes, fresh for every file.
        nonce: 24 random bytes, fresh for every file.
        ops: Argon2id's passes over the memory.
        mem_kib: Argon2id's memory.

    Raises:
        ConfigError: the password is empty, the costs are out of bounds or
            the machine has not that much memory.
        CryptoError: the salt or the nonce has the wrong length.
    """
    if len(salt) != SALT_BYTES or len(nonce) != NONCE_BYTES:
        raise CryptoError(
            f"a key file takes a salt of {SALT_BYTES} bytes"
            f" and a nonce of {NONCE_BYTES}"
        )
    if password is None:
        header = _HEADER.pack(MAGIC, VERSION, KDF_NONE, 0, 0, salt, nonce)
        return header + aead_seal(_public_kek(salt), nonce, header, payload)
    if not password:
        raise ConfigError(
            "the password is empty", "give one, or ask for a file without a password"
        )
    if not _is_bounded(ops, mem_kib):
        raise ConfigError(
            f"{ops} passes over {mem_kib} KiB are out of bounds for a key file",
            f"use {MIN_OPS} to {MAX_OPS} passes over {MIN_MEMORY_KIB} to"
            f" {MAX_MEMORY_KIB} KiB",
        )
    header = _HEADER.pack(MAGIC, VERSION, KDF_ARGON2ID, ops, mem_kib, salt, nonce)
    return header + aead_seal(
        _password_kek(password, salt, ops, mem_kib), nonce, header, payload
    )


def open_key_file(data: bytes, password: bytes | None) -> bytes:
    """Return what a key file keeps.

    The costs are checked before any of them is paid.

    Args:
        data: the whole file.
        password: None where the file has none.

    Raises:
        DecodeError: the bytes are no key file of this version.
        ConfigError: a password is missing, or given where the file has none,
            or the machine has too little memory.
        UnsealError: the password is wrong, the file was altered or its costs
            are out of bounds.
    """
    if len(data) < _HEADER.size + TAG_BYTES or not data.startswith(MAGIC):
        raise DecodeError(
            "not a key file", "name the file that was written at registration"
        )
    header = data[: _HEADER.size]
    _, version, kdf, ops, mem_kib, salt, nonce = _HEADER.unpack(header)
    if version != VERSION or kdf not in {KDF_NONE, KDF_ARGON2ID}:
        raise DecodeError(
            f"a key file of version {version}, kdf {kdf} is unknown here",
            "install the release of the program that wrote it",
        )
    ciphertext = data[_HEADER.size :]
    if kdf == KDF_NONE:
        if password is not None:
            raise ConfigError(
                "a password was given but the key file has none",
                "leave the password out, or set one for the file first",
            )
        return _open(_public_kek(salt), nonce, header, ciphertext, "it was altered")
    if password is None:
        raise ConfigError(
            "the key file has a password and none was given",
            "give it at the prompt or in a file descriptor",
        )
    if not _is_bounded(ops, mem_kib):
        raise UnsealError(
            f"the key file asks for {ops} passes over {mem_kib} KiB, out of bounds",
            "it was altered; restore it from a backup or register anew",
        )
    kek = _password_kek(password, salt, ops, mem_kib)
    return _open(
        kek, nonce, header, ciphertext, "the password is wrong or it was altered"
    )


def _open(
    kek: bytes, nonce: bytes, header: bytes, ciphertext: bytes, reason: str
) -> bytes:
    """Return the plaintext, or say in the user's words why there is none."""
    try:
        return aead_open(kek, nonce, header, ciphertext)
    except UnsealError as error:
        raise UnsealError(
            f"the key file does not open: {reason}",
            "try again, restore it from a backup or register anew",
        ) from error


def _is_bounded(ops: int, mem_kib: int) -> bool:
    """Say whether the costs are neither too cheap to guess nor ruinous."""
    return MIN_OPS <= ops <= MAX_OPS and MIN_MEMORY_KIB <= mem_kib <= MAX_MEMORY_KIB


def _public_kek(salt: bytes) -> bytes:
    """Return the key of a file without a password; anybody can derive it."""
    return sha256(b"MPXK no password\0", salt)


def _password_kek(password: bytes, salt: bytes, ops: int, mem_kib: int) -> bytes:
    """Return the key that Argon2id makes of a password."""
    try:
        return argon2id.kdf(
            _KEK_BYTES, password, salt, opslimit=ops, memlimit=mem_kib * 1024
        )
    except nacl.exceptions.CryptoError as error:
        raise ConfigError(
            f"cannot derive the key file's key with {mem_kib} KiB of memory",
            "free memory or raise the process's memory limit, then try again",
        ) from error
