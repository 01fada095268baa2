"""What keys, requests and certificates for the data links are made of.

Source: docs/protocol.md, section "Links". One curve: P-256.
"""

from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from shared.errors import CryptoError

CURVE: Final = ec.SECP256R1()
MALFORMED: Final = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises, early or late, over DER that it does not accept."""


def load_certificate(certificate: bytes) -> x509.Certificate:
    """Return the certificate that the DER holds, parsed and not checked.

    Raises:
        CryptoError: it is no certificate.
    """
    try:
        return x509.load_der_x509_certificate(certificate)
    except MALFORMED as error:
        raise CryptoError("not a certificate") from error


def certificate_spki(certificate: x509.Certificate) -> bytes:
    """Return the SPKI, in DER, of a certificate's key, of whatever kind.

    Raises:
        CryptoError: the key is of a kind that the library does not know.
    """
    try:
        return spki_der(certificate.public_key())
    except MALFORMED as error:
        raise CryptoError("a certificate's key cannot be read") from error


def require_p256(key: object) -> ec.EllipticCurvePublicKey:
    """Return the public key if it is on P-256.

    Raises:
        CryptoError: it is of another kind or on another curve.
    """
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, ec.SECP256R1
    ):
        raise CryptoError("a TLS key is not on the curve P-256")
    return key


def spki_der(key: CertificatePublicKeyTypes) -> bytes:
    """Return a public key's SPKI in DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a secret key, PKCS#8 in PEM, not encrypted."""
    return key.private_bytes(
        Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def common_name_only(common_name: str) -> x509.Name:
    """Return a name that is a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_usage(*, is_authority: bool) -> x509.KeyUsage:
    """Return the one usage that a leaf or an authority has."""
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
