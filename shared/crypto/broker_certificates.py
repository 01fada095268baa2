"""The certificates with which a private broker node shows who it is.

An authority that signs one certificate and is then forgotten: its key is never
kept, so nothing else will ever carry its signature. Participants pin the hash of
its key, which their enrolment token holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.crypto import x509_parts
from shared.names import Realm

HOST: Final = "localhost"

_Builder = x509.CertificateBuilder


@dataclass(frozen=True, slots=True)
class BrokerCertificates:
    """What a broker listens with, all of it PEM.

    ``chain``: its own certificate, then its authority's, so that it shows both.
    """

    authority: str
    chain: str
    key: str = field(repr=False)


def create_broker_certificates(
    realm: Realm, addresses: Sequence[str], not_before: datetime, not_after: datetime
) -> BrokerCertificates:
    """Return a fresh key with its certificate and authority.

    Args:
        realm: shown in the names.
        addresses: IP addresses where it listens, besides the name ``localhost``.
        not_before: an aware time, as ``not_after``.
        not_after: how long both certificates are good.
    """
    signer, own = (ec.generate_private_key(x509_parts.CURVE) for _ in range(2))
    issuer = _name(realm, "broker authority")

    def builder(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> _Builder:
        return x509.CertificateBuilder(
            issuer_name=issuer,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=not_before,
            not_valid_after=not_after,
        ).add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )

    authority = (
        builder(issuer, signer)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(x509_parts.key_usage(is_authority=True), critical=True)
        .sign(signer, hashes.SHA256())
    )
    hosts: list[IPv4Address | IPv6Address] = [ip_address(text) for text in addresses]
    leaf = (
        builder(_name(realm, "broker"), own)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(x509_parts.key_usage(is_authority=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName(HOST), *(x509.IPAddress(host) for host in hosts)]
            ),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
        .sign(signer, hashes.SHA256())
    )
    shown = authority.public_bytes(Encoding.PEM).decode()
    return BrokerCertificates(
        authority=shown,
        chain=leaf.public_bytes(Encoding.PEM).decode() + shown,
        key=x509_parts.private_pem(own).decode(),
    )


def _name(realm: Realm, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, realm),
            x509.NameAttribute(NameOID.COMMON_NAME, role),
        ]
    )
