"""Whom TLS to the broker trusts."""

import ssl
from contextlib import suppress
from pathlib import Path

from shared.errors import ConfigError


def context_for(authority: str | None) -> ssl.SSLContext | None:
    """Return the context that trusts one authority; ``None`` for the system's.

    Args:
        authority: PEM.

    Raises:
        ConfigError: it is no certificate.
    """
    return None if authority is None else _trusting(authority)


def _trusting(authority: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=authority)
    except (ssl.SSLError, ValueError, TypeError) as error:  # empty; not ASCII
        raise ConfigError(
            "the broker's authority is not a certificate in PEM",
            "give the certificate of the authority that signed the broker's",
        ) from error
    return context


def check_shown(chain: Path, key: Path, authority: str, host: str) -> None:
    """Check what a broker shows by a handshake in memory, as a client makes it.

    Args:
        chain: PEM, the broker's certificate first.
        key: PEM of its key.
        authority: PEM of whom the client trusts.
        host: where the client reaches the broker.

    Raises:
        ConfigError: a file is no PEM or cannot be read, the key has a password or is
            another one, or a client would not trust the certificate now.
    """
    trusting = _trusting(authority)
    showing = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        showing.load_cert_chain(chain, key, "")  # or OpenSSL asks for a password
        _shake_hands(trusting, showing, host)
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(
            f"nobody who trusts the broker's authority trusts {chain}:"
            f" {error.verify_message}",
            "let the authority sign a certificate that is good now, and put there"
            " what leads to the authority behind it",
        ) from error
    except OSError as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        if reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"{key} is not the key of the certificate in {chain}",
                "put both files there that belong together",
            ) from error
        raise ConfigError(
            f"a broker cannot use {chain} with {key}: {reason or 'not PEM'}",
            "both must be PEM that you can read, and the key without a password",
        ) from error


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> None:
    upward, downward = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(downward, upward, server_hostname=host)
    answering = server.wrap_bio(upward, downward, server_side=True)
    while True:
        try:
            return asking.do_handshake()
        except ssl.SSLWantReadError:
            with suppress(ssl.SSLWantReadError):
                answering.do_handshake()
