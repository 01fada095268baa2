"""TLS to the broker: its authority is known by the hash in the enrolment token."""

import asyncio
import ssl

from shared.crypto.certificates import spki_hash_of_certificate
from shared.crypto.derivation import equal
from shared.errors import ConfigError, CryptoError
from shared.transport.base import UnreachableError
from shared.transport.endpoint import parse_endpoints

TIMEOUT_SECONDS = 10


def check_authority(pem: str, pin: bytes) -> str:
    """Return the broker authority's PEM if it is the one that the token pins.

    Args:
        pem: one certificate.
        pin: SHA-256 of its SubjectPublicKeyInfo.

    Raises:
        ConfigError: it is another one, or no certificate.
    """
    try:
        der = ssl.PEM_cert_to_DER_cert(pem.strip() + "\n")
        found = spki_hash_of_certificate(der)
    except (ValueError, CryptoError) as error:
        raise ConfigError(
            "the broker's authority is not one certificate in PEM",
            "give the file that the operator of the realm uses",
        ) from error
    if not equal(found, pin):
        raise ConfigError(
            "the broker's authority is not the one that the token names",
            "ask the operator of the realm for its certificate",
        )
    return ssl.DER_cert_to_PEM_cert(der)


async def fetch_authority(url: str, vhost: str, pin: bytes) -> str:
    """Return the authority that the broker shows, if it is the one that is pinned.

    Nothing is sent before the hash is compared. A broker that does not show its
    authority's certificate cannot be pinned so; then the file has to be given.

    Raises:
        ConfigError: it shows another one, or none.
        UnreachableError: nobody answers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what it shows is compared with the pin
    problems: list[str] = []
    for endpoint in parse_endpoints(url, vhost):
        where = f"{endpoint.host}:{endpoint.port}"
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                _, writer = await asyncio.open_connection(
                    endpoint.host, endpoint.port, ssl=context
                )
        except TimeoutError:
            problems.append(f"{where}: no answer in {TIMEOUT_SECONDS} s")
            continue
        except OSError as error:
            problems.append(f"{where}: {error.strerror or error}")
            continue
        shown = _shown(writer)
        writer.close()
        for der in shown:
            if equal(spki_hash_of_certificate(der), pin):
                return ssl.DER_cert_to_PEM_cert(der)
        raise ConfigError(
            "the broker does not show the authority that the token names",
            "give its certificate with --broker-ca FILE",
        )
    raise UnreachableError(
        f"no broker answers at {', '.join(problems)}",
        "see whether the broker runs, whether firewalls let this machine reach that"
        " address and port, and whether the operator advertises the right one",
    )


def _shown(writer: asyncio.StreamWriter) -> list[bytes]:
    """Return the chain that a server sent, in DER."""
    live = writer.get_extra_info("ssl_object")
    # Public from Python 3.13 on; before, only the underlying object has it.
    chain = getattr(live, "get_unverified_chain", None)
    if chain is not None:
        return [bytes(der) for der in chain()]
    inner = getattr(live, "_sslobj", None)
    certificates = inner.get_unverified_chain() if inner is not None else ()
    return [
        ssl.PEM_cert_to_DER_cert(certificate.public_bytes())
        for certificate in certificates or ()
    ]
