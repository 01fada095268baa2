"""X.509 for the data links: keys and requests, the authority and its leaves.

Source: docs/protocol.md, section "Links". Everything is ECDSA on P-256 with
SHA-256. Certificates count in whole seconds: a time's fraction is dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.crypto import x509_parts
from shared.crypto.derivation import equal, sha256
from shared.crypto.keys import kid
from shared.errors import CryptoError
from shared.names import KeyId, Principal, Realm, Role

_LEAF_USAGES: Final = frozenset(
    {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
)


def spki_hash(spki: bytes) -> bytes:
    """Return the hash by which a TLS key is endorsed, over its SPKI's DER."""
    return sha256(spki)


def spki_hash_of_certificate(certificate: bytes) -> bytes:
    """Return the hash of the SPKI in a certificate's DER.

    Raises:
        CryptoError: the bytes are no certificate.
    """
    return spki_hash(
        x509_parts.certificate_spki(x509_parts.load_certificate(certificate))
    )


def spiffe_id(realm: Realm, role: Role, principal: Principal) -> str:
    """Return the URI that a leaf of this principal carries."""
    return f"spiffe://{realm}/{role}/{principal}"


def der_to_pem(certificate: bytes) -> str:
    """Return a certificate's DER as the PEM text that ``ssl`` takes.

    Raises:
        CryptoError: the bytes are no certificate.
    """
    return x509_parts.load_certificate(certificate).public_bytes(Encoding.PEM).decode()


class TlsKey:
    """A participant's key for the data links of one session, P-256."""

    __slots__ = ("_key",)

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Self:
        """Return a fresh key from the operating system's randomness."""
        return cls(ec.generate_private_key(x509_parts.CURVE))

    @property
    def private_pem(self) -> bytes:
        """The secret key, PKCS#8 in PEM, not encrypted."""
        return x509_parts.private_pem(self._key)

    @property
    def spki(self) -> bytes:
        """The public key, SPKI in DER."""
        return x509_parts.spki_der(self._key.public_key())

    @property
    def spki_hash(self) -> bytes:
        """The hash by which the key is endorsed, 32 bytes."""
        return spki_hash(self.spki)

    def csr(self, common_name: str) -> bytes:
        """Return a PKCS#10 request in DER that asks for nothing but a name."""
        builder = x509.CertificateSigningRequestBuilder(
            x509_parts.common_name_only(common_name)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)

    def __repr__(self) -> str:
        """Return text that holds nothing of the key."""
        return "TlsKey(<redacted>)"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError("a TLS key cannot be pickled")


def read_csr(csr: bytes) -> bytes:
    """Return the SPKI, in DER, of the key that a request proves to have.

    Its name is not looked at: the authority sets every field of a leaf.

    Args:
        csr: PKCS#10 in DER, as received.

    Raises:
        CryptoError: not a request, not signed by its own key, not P-256, or it
            asks for extensions such as CA:TRUE or an alternative name.
    """
    try:
        request = x509.load_der_x509_csr(csr)
        key = x509_parts.require_p256(request.public_key())
        is_signed = request.is_signature_valid
        is_plain = len(request.attributes) == 0
    except x509_parts.MALFORMED as error:
        raise CryptoError("not a certificate request") from error
    if not is_signed:
        raise CryptoError("a certificate request is not signed by its own key")
    if not is_plain:
        raise CryptoError("a certificate request asks for extensions")
    return x509_parts.spki_der(key)


@dataclass(frozen=True, slots=True)
class LeafInfo:
    """What a leaf says; nothing of it is checked yet."""

    common_name: str
    spiffe: str
    spki_hash: bytes
    not_before: datetime
    not_after: datetime


def read_leaf(leaf: bytes) -> LeafInfo:
    """Return what a leaf's DER says.

    Raises:
        CryptoError: it is no certificate or not of a leaf's shape: P-256, one
            common name, one URI as the only alternative name, for servers
            and clients, a key for signatures, no authority.
    """
    return _leaf_info(x509_parts.load_certificate(leaf))


def check_leaf(
    leaf: bytes, cas: Sequence[bytes], now: datetime, spiffe: str, spki_hash: bytes
) -> None:
    """Check a leaf against what is expected of it.

    Args:
        leaf: DER.
        cas: DER of the realm's authorities, all trusted.
        now: an aware time.
        spiffe: the URI that it must carry.
        spki_hash: the endorsed hash that its key must have.

    Raises:
        CryptoError: another name or key, outside its time, or no authority
            that is in time signed it.
    """
    certificate = x509_parts.load_certificate(leaf)
    info = _leaf_info(certificate)
    if info.spiffe != spiffe:
        raise CryptoError("a leaf carries another principal's name")
    if not equal(info.spki_hash, spki_hash):
        raise CryptoError("a leaf carries another key than the endorsed one")
    if not info.not_before <= now <= info.not_after:
        raise CryptoError("a leaf is outside its time")
    if not any(
        _is_issued_by(certificate, x509_parts.load_certificate(ca), now) for ca in cas
    ):
        raise CryptoError("no authority of the realm issued this leaf")


class CertificateAuthority:
    """The realm's data-plane authority: signs leaves and nothing else."""

    __slots__ = ("_certificate", "_key")

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def create(cls, realm: Realm, not_before: datetime, not_after: datetime) -> Self:
        """Return a fresh authority with its self-signed certificate.

        Args:
            realm: shown in the certificate's name.
            not_before: an aware time.
            not_after: an aware time; no leaf may end later.
        """
        key = ec.generate_private_key(x509_parts.CURVE)
        public = key.public_key()
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, realm),
                x509.NameAttribute(
                    NameOID.COMMON_NAME,
                    f"MPX1 data plane {kid(x509_parts.spki_der(public)).hex()}",
                ),
            ]
        )
        builder = x509.CertificateBuilder(
            issuer_name=name,
            subject_name=name,
            public_key=public,
            serial_number=x509.random_serial_number(),
            not_valid_before=not_before,
            not_valid_after=not_after,
        )
        builder = (
            builder.add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(x509_parts.key_usage(is_authority=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(public), critical=False
            )
        )
        return cls(key, builder.sign(key, hashes.SHA256()))

    @classmethod
    def from_pem(cls, key_pem: bytes, certificate: bytes) -> Self:
        """Return the authority with this key and certificate.

        Args:
            key_pem: PKCS#8 in PEM, not encrypted.
            certificate: DER.

        Raises:
            CryptoError: not a P-256 key, no certificate, or not of one another.
        """
        try:
            key = serialization.load_pem_private_key(key_pem, None)
        except x509_parts.MALFORMED as error:
            raise CryptoError("not the private key of an authority") from error
        loaded = x509_parts.load_certificate(certificate)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not equal(
            x509_parts.spki_der(x509_parts.require_p256(key.public_key())),
            x509_parts.certificate_spki(loaded),
        ):
            raise CryptoError(
                "an authority's key and certificate do not belong together"
            )
        return cls(key, loaded)

    @property
    def key_pem(self) -> bytes:
        """The secret key, PKCS#8 in PEM, not encrypted."""
        return x509_parts.private_pem(self._key)

    @property
    def certificate_der(self) -> bytes:
        """The authority's own certificate."""
        return self._certificate.public_bytes(Encoding.DER)

    @property
    def spki(self) -> bytes:
        """The public key, SPKI in DER."""
        return x509_parts.spki_der(self._key.public_key())

    @property
    def kid(self) -> KeyId:
        """The id of the public key, over its SPKI's DER."""
        return kid(self.spki)

    def issue_leaf(
        self,
        spki_der: bytes,
        realm: Realm,
        role: Role,
        principal: Principal,
        not_before: datetime,
        not_after: datetime,
    ) -> bytes:
        """Return the DER of a leaf in which this call sets every field.

        Args:
            spki_der: the endorsed key, as ``read_csr`` returned it.
            realm: the realm's name, in the URI.
            role: the role of the certificate of registration.
            principal: whose leaf it is.
            not_before: an aware time.
            not_after: an aware time, not after the authority's own end.

        Raises:
            CryptoError: the key is not P-256, or the time is empty or ends
                after the authority's.
        """
        try:
            key = x509_parts.require_p256(serialization.load_der_public_key(spki_der))
        except x509_parts.MALFORMED as error:
            raise CryptoError("not a public key") from error
        if not not_before < not_after <= self._certificate.not_valid_after_utc:
            raise CryptoError("a leaf's time is empty or ends after its authority's")
        uri = x509.UniformResourceIdentifier(spiffe_id(realm, role, principal))
        builder = x509.CertificateBuilder(
            issuer_name=self._certificate.subject,
            subject_name=x509_parts.common_name_only(principal),
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=not_before,
            not_valid_after=not_after,
        )
        builder = (
            builder.add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(x509_parts.key_usage(is_authority=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self._key.public_key()
                ),
                critical=False,
            )
        )
        leaf = builder.sign(self._key, hashes.SHA256())
        return leaf.public_bytes(Encoding.DER)

    def __repr__(self) -> str:
        """Return text that holds nothing of the key."""
        return "CertificateAuthority(<redacted>)"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError("an authority cannot be pickled")


def _leaf_info(certificate: x509.Certificate) -> LeafInfo:
    """Return what a leaf says if it has a leaf's shape."""
    try:
        key = x509_parts.require_p256(certificate.public_key())
        [name] = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        extended = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        [uri] = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509_parts.MALFORMED as error:
        raise CryptoError("a certificate is not of a leaf's shape") from error
    if (
        constraints.ca
        or usage != x509_parts.key_usage(is_authority=False)
        or frozenset(extended) != _LEAF_USAGES
        or not isinstance(uri, x509.UniformResourceIdentifier)
    ):
        raise CryptoError("a certificate's extensions are not those of a leaf")
    return LeafInfo(
        common_name=str(name.value),
        spiffe=uri.value,
        spki_hash=spki_hash(x509_parts.spki_der(key)),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _is_issued_by(leaf: x509.Certificate, ca: x509.Certificate, now: datetime) -> bool:
    """Say whether an authority that is in time signed the leaf."""
    try:
        leaf.verify_directly_issued_by(ca)
        is_in_time = ca.not_valid_before_utc <= now <= ca.not_valid_after_utc
    except x509_parts.MALFORMED:
        return False
    return is_in_time
